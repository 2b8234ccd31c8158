"""Runs the build flow from the command line, with progress bars. Importing this imports Prefect."""

import errno
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from prefect.client.orchestration import get_client
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from flows.batches import GaveUpError
from flows.build import build
from flows.cli import base
from flows.legs import RECORDED
from flows.progress import ended, watchers
from flows.result import Result
from flows.settings import BuildSettings
from flows.tally import Tally
from tasks.errors import InfrastructureError, UserError
from tasks.store.folder import Folder

AGAIN = "nothing done is lost: mend it and run the same command again"

LEAST_FREE = 1 << 20
"""Bytes below which a disk counts as full: a database needs a few pages more than nothing."""

DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}


def run_build(settings: BuildSettings, console: Console) -> Result:
    """Run the flow in this process. InfrastructureError where the world around it failed: what is done is on record."""
    try:
        with get_client(sync_client=True) as server:  # starts Prefect's own where none is set
            server.raise_for_api_version_mismatch()
    except (RuntimeError, httpx.HTTPError) as error:
        raise UserError(f"no Prefect server to run under: {text_of(error)}; {AGAIN}") from error
    results: list[Result] = []
    ended.append(results.append)
    try:
        with bars(console):
            state = build(settings, return_state=True)
            found = state.result(raise_on_failure=False)
            if isinstance(found, BaseException):
                raise found
    except (GaveUpError, InfrastructureError, OSError, httpx.HTTPError) as error:
        base.server_lost = any(isinstance(failed, httpx.TransportError) for failed in causes(error))
        if results:  # all work was done when Prefect's server was no more
            console.print(f"Prefect's server failed at the end of the run: {text_of(error)}", markup=False)
        elif full := full_disk(error, settings.out):
            raise UserError(f"{full}; {AGAIN}") from error
        else:
            raise InfrastructureError(f"{explain(error)}; {AGAIN}") from error
    finally:
        ended.remove(results.append)
    return results[0]


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from. On a full disk, say, Prefect's server fails too and its error comes on top."""
    failed: BaseException | None = error
    while failed is not None:
        yield failed
        failed = failed.__cause__ or failed.__context__


def full_disk(error: BaseException, out: str) -> str | None:
    """One line where the disk is what failed. Prefect's server cannot say that its database found no room in `out`."""
    for failed in causes(error):
        if isinstance(failed, OSError) and failed.errno in DISK:
            return text_of(failed)
    root = Path(Folder(out).root)
    if isinstance(error, httpx.HTTPError) and root.exists() and shutil.disk_usage(root).free < LEAST_FREE:
        return f"No space left on device: {root}"
    return None


def explain(error: Exception) -> str:
    """One line on what failed first."""
    for failed in causes(error):
        if isinstance(failed, GaveUpError | InfrastructureError):
            return text_of(failed)
    return f"Prefect's server failed: {text_of(error)}" if isinstance(error, httpx.HTTPError) else text_of(error)


def text_of(error: BaseException) -> str:
    """An error's message without line breaks; a system error's with the file it is about."""
    if isinstance(error.__cause__, OSError):
        error = error.__cause__
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f": {error.filename}" if error.filename else "")
    return " ".join(str(error).split())[:500] or type(error).__name__


@contextmanager
def bars(console: Console) -> Iterator[None]:
    """One progress bar per stage on the terminal while the flow runs; plain lines where there is no terminal."""
    if not console.is_terminal:
        began = time.perf_counter()

        def say(lines: list[Tally]) -> None:
            busy = [f"{t.stage} {t.accepted}+{sum(t.rejected.values())}/{t.arrived}" for t in lines if t.pending]
            console.print(
                f"{time.perf_counter() - began:6.1f} s  {'  '.join(busy) or 'nothing pending'}", highlight=False
            )

        watchers.append(say)
        try:
            yield
        finally:
            watchers.remove(say)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, TextColumn("{task.fields[note]}"), console=console) as progress:
        rows = {stage: progress.add_task(stage, total=None, note="") for stage in RECORDED}

        def draw(lines: list[Tally]) -> None:
            for t in lines:
                note = f"{sum(t.rejected.values())} rejected" if t.rejected else ""
                progress.update(rows[t.stage], total=t.arrived, completed=t.arrived - t.pending, note=note)

        watchers.append(draw)
        try:
            yield
        finally:
            watchers.remove(draw)
