"""`matrix_data`: the pipeline's command line, a command or two a file.

Exit codes: 0 done · 2 a mistake of the user's, said in one line · 3 clips still pending (run the same command again) ·
4 nothing accepted, or problems found · 130 stopped by Ctrl-C.
"""

from flows.cli import build, comparing, demo, doctor, exports, keep, look, people, server, show, workers, world  # noqa: F401 each puts its commands into the app
from flows.cli.base import MISTAKE, PENDING, app, fail, leave
from tasks.errors import InfrastructureError, UserError


def main() -> None:
    """Entry point: a user's mistake and a failure of the world are one line, never a traceback."""
    try:
        app()
    except SystemExit as ended:
        leave(ended.code if isinstance(ended.code, int) else 0)
    except UserError as error:
        fail(str(error), MISTAKE)
    except InfrastructureError as error:
        fail(str(error), PENDING)
    except OSError as error:
        fail((error.strerror or str(error)) + (f": {error.filename}" if error.filename else ""), MISTAKE)
