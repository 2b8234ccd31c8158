"""Runs the build flow from the command line: checks what can be checked first, then shows progress bars."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from flows.build import build
from flows.drive import GaveUpError
from flows.finish import Result
from flows.funnel import watchers
from flows.intake import captions_of
from flows.lock import build_lock
from flows.plan import STAGES, Plan, Tally
from flows.settings import BuildSettings, load_settings
from tasks.errors import InfrastructureError, UserError


def run_build(
    profile: str, overrides: list[str], *, source: str, captions: str | None, out: str, console: Console
) -> Result:
    """Check the settings and what they point to, then run the flow in this process. UserError for any mistake."""
    settings = load_settings(profile, overrides, source=source, captions=captions, out=out)
    preflight(settings)
    try:
        with bars(console):
            return build(settings)
    except GaveUpError as error:
        raise UserError(
            f"stopped after {settings.run.give_up_after} batches in a row were lost: {error}; "
            "nothing done is lost: mend it and run the same command again"
        ) from error
    except InfrastructureError as error:
        raise UserError(f"{error}; nothing done is lost: mend it and run the same command again") from error


def preflight(settings: BuildSettings) -> None:
    """What can go wrong before the first clip, found before Prefect starts: folder, lock, source, captions, engines."""
    plan = Plan(settings)
    try:
        with build_lock(settings.out):
            if not plan.listing:
                raise UserError(f"no video files under {settings.source} ({', '.join(settings.scan.extensions)})")
            captions_of(plan)
            _ = plan.fingerprints  # loads the engines
    except OSError as error:
        raise UserError(f"cannot write to {settings.out}: {error.strerror or error}; give another --out") from None


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
