"""`matrix_data limits` and `matrix_data automations`: what a Prefect server must hold for builds that share one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import httpx
import typer

from flows.cli.base import Json, Profile, Sets, app, emit
from flows.settings import load_settings
from schemas.text import one_line
from tasks.errors import UserError

if TYPE_CHECKING:  # Prefect takes seconds to import: commands that need it do so themselves
    from prefect.client.orchestration import SyncPrefectClient

Apply = Annotated[bool, typer.Option("--apply", help="Make it so; without this, only say what is there and what not.")]


@app.command()
def limits(profile: Profile = "local", set_: Sets = [], apply: Apply = False, as_json: Json = False) -> None:  # noqa: B006
    """Put the limits of `run.limits` on Prefect's server: how many batches of a stage run at once, over all builds."""
    from flows.server import limits as on_server

    wanted = load_settings(profile, set_, source="none", out="none").run.limits
    if not wanted:
        raise UserError(f"profile {profile} sets no limits: name stages, e.g. --set 'run.limits={{track: 2}}'")
    with prefect_client() as server:
        found = on_server.compare(server, wanted)
        if apply:
            on_server.put(server, wanted)
    changed = [limit for limit in found if limit.there != limit.slots]
    told = {
        "limits": {on_server.limit_name(limit.stage): {"slots": limit.slots, "there": limit.there} for limit in found},
        "applied": apply,
    }
    emit(told, as_json, [*(limit.line() for limit in found), *([] if apply else _not_yet(bool(changed)))])


@app.command()
def automations(
    unheard: Annotated[
        float | None, typer.Option(min=60, help="Seconds without a heartbeat; by default three of Prefect's own.")
    ] = None,
    apply: Apply = False,
    as_json: Json = False,
) -> None:
    """Put the automation on Prefect's server that ends flow runs whose worker died."""
    from flows.server import automations as on_server

    wanted = on_server.end_unheard(unheard or on_server.UNHEARD_S)
    with prefect_client() as server:
        there = on_server.found(server)
        change = there is None or not on_server.same(there, wanted)
        if apply and change:
            on_server.put(server, wanted)
    state = "new" if there is None else "changed" if change else "as it is"
    emit({"automation": on_server.NAME, "state": state, "applied": apply}, as_json,
         [f"{on_server.NAME}: {state}", *([] if apply else _not_yet(change))])  # fmt: skip


def _not_yet(change: bool) -> list[str]:
    return ["nothing was changed: add --apply"] if change else []


@contextmanager
def prefect_client() -> Iterator["SyncPrefectClient"]:
    """A client of the Prefect server that the environment or a Prefect profile names. UserError where it is none."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        raise UserError("no Prefect server is named: set PREFECT_API_URL, e.g. to http://127.0.0.1:4200/api")
    try:
        with get_client(sync_client=True) as server:
            yield server
    except httpx.HTTPError as error:
        raise UserError(f"Prefect's server did not take it: {one_line(str(error), 300)}") from error
