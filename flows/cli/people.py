"""`matrix_data review`: the page on which people accept, mend and drop tracks. Needs no engine, lock or Prefect."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from flows.cli.base import Json, Out, app, emit
from flows.cli.server import prefect_client
from tasks.errors import UserError
from tasks.review.journal import Journal, Role

if TYPE_CHECKING:  # FastAPI takes a second to import
    from web.store import Build


@app.command()
def review(
    out: Out,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8090,
    host: Annotated[
        str, typer.Option(help="Address to listen on; anything but loopback shows the clips to others.")
    ] = ("127.0.0.1"),
    name: Annotated[
        list[str], typer.Option(help="A name that people reach it by, behind a proxy; may be repeated.")
    ] = [],  # noqa: B006
    proxy: Annotated[
        list[str],
        typer.Option(help="Address or network of a proxy whose X-Forwarded-Proto and -For hold; may be repeated."),
    ] = [],  # noqa: B006
    invite: Annotated[str | None, typer.Option(help="Make an account, print its token, and end.")] = None,
    role: Annotated[
        str | None,
        typer.Option(help="Of who is invited: reader, reviewer or admin; by default the one they have, else reviewer."),
    ] = None,
    dismiss: Annotated[str | None, typer.Option(help="Take an account away, and end.")] = None,
    order: Annotated[str, typer.Option(help="doubt or name: how the queue begins.")] = "doubt",
    as_json: Json = False,
) -> None:
    """People look at the curated clips of a build; their decisions go on record, and the next build takes them."""
    from web.review import create_app
    from web.serve import is_loopback, names_of, serve
    from web.store import Build

    if order not in ("doubt", "name"):
        raise UserError(f"--order {order!r}: doubt or name")
    build = Build(out)
    journal = Journal(build.work, build.review.journal)
    if dismiss is not None:
        journal.dismiss(dismiss)
        emit({"dismissed": dismiss}, as_json, [f"{dismiss} cannot log in any more"])
        return
    if invite is not None:
        token = _invite(journal, invite, role)
        user = journal.user_of(token)
        assert user is not None
        told = f"token of {invite} ({user.role}): {token}"
        emit({"name": invite, "role": user.role, "token": token}, as_json, [told])
        return
    if not journal.users():
        token = _invite(journal, "admin", "admin")
        emit({"name": "admin", "role": "admin", "token": token}, as_json, [f"token of admin, shown once: {token}"])
    if not is_loopback(host):
        emit(
            {"open": host},
            as_json,
            [f"{host} is no loopback address: put a proxy with TLS before it, and name it (--name, --proxy)"],
        )
    served = create_app(build, journal, names_of(host, tuple(name)), order, _go_on)
    serve(served, host, port, lambda url: emit({"url": url}, as_json, [url]), proxy)


def _go_on(build: "Build") -> str:
    """Have the run of a deployment go on that waits for people; where there is none, what to run."""
    from prefect.settings import PREFECT_API_URL  # takes seconds, and only a build that waits needs it

    from flows.opened import context_of
    from flows.resume import resume_command
    from flows.server.breaker import go_on

    if PREFECT_API_URL.value():
        try:
            with prefect_client() as server:
                if told := go_on(server, build.settings["out"]):
                    return told
        except UserError as error:
            return f"{error}; it is asked again"
    return f"run {resume_command(context_of(build.out.uri).settings)}"


def _invite(journal: Journal, name: str, role: str | None) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.@-]{1,40}", name):
        raise UserError(f"--invite {name!r}: letters, digits and _ . @ - only, 40 at most")
    if role not in (None, *get_args(Role)):
        raise UserError(f"--role {role!r}: reader, reviewer or admin")
    return journal.invite(name, cast(Role | None, role))


@app.command()
def explore(
    dataset: Annotated[str, typer.Argument(help="A dataset folder, or the out folder of a build; local or a bucket.")],
    second: Annotated[str | None, typer.Argument(help="Another one, to stand beside it.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8091,
    as_json: Json = False,
) -> None:
    """Look through finished datasets: search, filter, count, sort. Read-only, and on loopback alone."""
    from flows.opened import dataset_of
    from web.explore import create_app
    from web.samples import Samples
    from web.serve import serve

    opened = [Samples(dataset_of(name)) for name in (dataset, second) if name]
    serve(create_app(opened), "127.0.0.1", port, lambda url: emit({"url": url}, as_json, [url]))


@app.command()
def audit(
    out: Out,
    to: Annotated[str, typer.Option("--out", help="Folder of the audit: what was drawn, the answers, the figures.")],
    sample: Annotated[int, typer.Option(min=1, help="Clips; four questions each.")] = 200,
    seed: Annotated[int, typer.Option(help="Draws the clips.")] = 0,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8092,
    as_json: Json = False,
) -> None:
    """How right a build is: yes/no questions about a seeded sample, and accuracy with intervals. On loopback alone."""
    from web.audit import create_app
    from web.serve import serve
    from web.store import Build

    app_of_audit = create_app(Build(out), Path(to), sample, seed)
    serve(app_of_audit, "127.0.0.1", port, lambda url: emit({"url": url}, as_json, [url]))
