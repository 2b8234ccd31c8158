"""Runs the build flow from the command line, with progress bars. Importing this imports Prefect."""

import errno
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect.client.orchestration import get_client
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from flows.build import build
from flows.context import STAGES, Tally
from flows.drive import GaveUpError
from flows.finish import Result
from flows.progress import watchers
from flows.settings import BuildSettings
from tasks.errors import InfrastructureError, UserError

AGAIN = "nothing done is lost: mend it and run the same command again"

DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}


def run_build(settings: BuildSettings, console: Console) -> Result:
    """Run the flow in this process. UserError where the world around it failed for good."""
    try:
        with get_client(sync_client=True) as server:  # starts Prefect's own where none is set
            server.raise_for_api_version_mismatch()
    except (RuntimeError, httpx.HTTPError) as error:
        raise UserError(f"no Prefect server to run under: {one_line(error)}; {AGAIN}") from error
    try:
        with bars(console):
            return build(settings)
    except (GaveUpError, InfrastructureError, OSError, httpx.HTTPError) as error:
        raise UserError(f"{explain(error, settings.run.give_up_after)}; {AGAIN}") from error


def explain(error: Exception, give_up_after: int) -> str:
    """One line on what failed first. On a full disk, say, Prefect's server fails too and its error comes on top."""
    failed: BaseException | None = error
    while failed is not None:
        if isinstance(failed, GaveUpError):
            return f"stopped after {give_up_after} batches in a row were lost: {one_line(failed)}"
        if isinstance(failed, InfrastructureError) or (isinstance(failed, OSError) and failed.errno in DISK):
            return one_line(failed)
        failed = failed.__cause__ or failed.__context__
    return f"Prefect's server failed: {one_line(error)}" if isinstance(error, httpx.HTTPError) else one_line(error)


def one_line(error: Exception) -> str:
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
        rows = {stage: progress.add_task(stage, total=None, note="") for stage in STAGES}

        def draw(lines: list[Tally]) -> None:
            for t in lines:
                note = f"{sum(t.rejected.values())} rejected" if t.rejected else ""
                progress.update(rows[t.stage], total=t.arrived, completed=t.arrived - t.pending, note=note)

        watchers.append(draw)
        try:
            yield
        finally:
            watchers.remove(draw)
