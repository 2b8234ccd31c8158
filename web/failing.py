"""What the pages answer where something beside them has failed: one line for who asked, and no stack of calls."""

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from tasks.errors import InfrastructureError, UserError
from tasks.review.journal import ConflictError

GONE = "what this page was opened over is not there as it was: start the page again"
"""Where a folder was removed, moved or made anew while its server ran on."""


def tell_failures(app: FastAPI) -> None:
    """409 where somebody else was first; 503 where a journal, a disk, a store or a dataset does not do what it did."""

    def told(status: int, words: str) -> JSONResponse:
        return JSONResponse({"detail": words}, status)

    @app.exception_handler(ConflictError)
    def conflict(_: Request, error: ConflictError) -> JSONResponse:
        return told(409, str(error))

    @app.exception_handler(InfrastructureError)
    @app.exception_handler(UserError)
    def down(_: Request, error: InfrastructureError | UserError) -> JSONResponse:
        return told(503, str(error))

    @app.exception_handler(OSError)
    def disk(_: Request, error: OSError) -> JSONResponse:
        return told(503, GONE if isinstance(error, FileNotFoundError) else f"the disk: {error.strerror or error}")
