"""What is told while a flow runs: the funnel to watchers in this process and to the UI, and in the end what was lost.

Telling is never worth a build: a call to the server that fails is told in the log and forgotten.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from uuid import UUID

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.logging import get_run_logger

from flows.batches import Loss
from flows.result import Result
from flows.server.events import key_of
from flows.survey import Survey
from flows.tally import Tally, as_table, by_machine
from schemas.text import as_markdown, one_line

Watcher = Callable[[list[Tally]], None]
watchers: list[Watcher] = []
"""Called with each new funnel in the process that runs the flow; the command line's progress bars listen here."""

ended: list[Callable[[Result], None]] = []
"""Called with a run's result before Prefect is told, so that it is not lost with Prefect's server."""

WATCH_EVERY_S, ARTIFACT_EVERY_S = 1.0, 5.0
"""How often the funnel is counted for watchers, and how often its artifact grows, while the flow runs."""

MACHINES_EVERY_S = 60.0
"""How often the table of machines is shown: it changes slowly, and each time is a version on the server."""

COUNT_SHARE = 0.05
"""Counting the funnel lists every chunk: from some size on it is done less often, not longer."""

log = logging.getLogger(__name__)

QUIET_S = 60.0
"""How long nothing more is told to a server after a call to it has failed, each of which costs its time-outs."""

_quiet_until = 0.0


class Gauge:
    """Shows the funnel while a flow runs, over a whole build or over one chunk, by the clock and not by the batch."""

    def __init__(self, survey: Survey) -> None:
        self.survey = survey
        self._watch = self._artifact = self._machines = 0.0
        self._last: list[Tally] = []
        self._bars: dict[str, UUID] = {}
        self._shown: dict[str, tuple[int, int]] = {}
        """By stage, the artifact that shows how far it is, and what it shows: how many of how many."""

    def show(self, last: bool = False) -> None:
        now = time.monotonic()
        if not last and now < self._watch:
            return
        lines = self.survey.look().funnel()
        for watcher in watchers:
            watcher(lines)
        counted = time.monotonic()
        self._watch = counted + max(WATCH_EVERY_S, (counted - now) / COUNT_SHARE)
        if lines != self._last and (last or now >= self._artifact):
            self._last = lines
            self._artifact = time.monotonic() + ARTIFACT_EVERY_S
            out = self.survey.context.out.uri
            about = f"Funnel of {out}" + (f", chunk {self.survey.only}" if self.survey.only else "")
            # Without a key it is seen at its run alone, and never in the place of the whole funnel.
            key = None if self.survey.only else f"funnel-{key_of(out)}"
            tell("the artifact `funnel`", lambda: create_table_artifact(as_table(lines), key=key, description=about))
            if key and not last:
                self._show_progress(lines, key_of(out))
            if key and (last or now >= self._machines):
                self._machines = now + MACHINES_EVERY_S
                table, about = by_machine(lines), f"Who has done it, {out}"
                of_all = f"machines-{key_of(out)}"
                tell("the artifact `machines`", lambda: create_table_artifact(table, key=of_all, description=about))
        if last and not self.survey.only:
            self._show_progress(lines, key_of(self.survey.context.out.uri), last)

    def _show_progress(self, lines: Sequence[Tally], dataset: str, last: bool = False) -> None:
        """A bar a stage, moved where there is something new or the server did not take it.

        last: also in quiet times, until the server does not take one.
        """
        for line in lines:
            now = line.arrived - line.pending, line.arrived
            if not line.arrived or self._shown.get(line.stage) == now:
                continue
            if not tell("the artifact `progress`", partial(self._move, line.stage, now, dataset), last):
                return
            self._shown[line.stage] = now

    def _move(self, stage: str, now: tuple[int, int], dataset: str) -> None:
        """now: how many are done, of how many that have arrived."""
        done, arrived = now
        share, about = round(100 * done / arrived, 1), f"{stage}: {done} of {arrived} done"
        if stage in self._bars:
            update_progress_artifact(self._bars[stage], progress=share, description=about)
            return
        key = f"progress-{stage}-{dataset}"
        # where no event loop runs it is no coroutine
        self._bars[stage] = create_progress_artifact(share, key=key, description=about)  # type: ignore[assignment]


def tell_losses(out: str, lost: Sequence[Loss], told: Sequence[str]) -> list[str]:
    """What a run left pending and why, and what else is to be known: into its log and an artifact, and returned.

    out: the folder of the build, as people know it.
    """
    lines = [*loss_lines(lost), *told]
    if lines:
        for line in lines:
            tell("the run's log", lambda line=line: get_run_logger().warning(line), True)  # type: ignore[misc]
        table = [
            {"stage": loss.stage, "batch": loss.batch, "why": one_line(loss.why, 500), "keys": list(loss.keys)}
            for loss in lost
        ]
        about = "\n".join(map(as_markdown, lines))
        key = f"lost-{key_of(out)}"
        tell("the artifact `lost`", lambda: create_table_artifact(table, key=key, description=about), True)
    return lines


def tell_pause(out: str, why: str, again: str) -> None:
    """Why a run is given up, and how it goes on: into its log and an artifact of the dataset."""
    safe = as_markdown(why)
    text = (
        f"**Stopped:** {safe}\n\nNothing done is lost. Mend it, then press **Resume** at this run: it goes on from "
        f"what is on record, on any worker. On the command line:\n\n```\n{again}\n```\n"
    )
    tell("the run's log", lambda: get_run_logger().error("stopped: %s", why), True)
    tell("the artifact `paused`", lambda: create_markdown_artifact(text, key=f"paused-{key_of(out)}"), True)


def waiting_key(out: str) -> str:
    """Key of the artifact that leads people to the page, and the page to the last run of a dataset that waited."""
    return f"review-{key_of(out)}"


def tell_waiting(out: str, why: str, url: str | None) -> None:
    """Whom a run waits for, and where they decide: into its log, and a link where there is one to the review's page."""
    tell("the run's log", lambda: get_run_logger().warning("waiting: %s", why), True)
    key, safe = waiting_key(out), as_markdown(why)
    if url:
        link = partial(create_link_artifact, url, link_text="review", key=key, description=safe)
        tell("the link `review`", link, True)
    else:
        tell("the artifact `review`", lambda: create_markdown_artifact(f"**Waiting:** {safe}", key=key), True)


def tell_summary(out: str, text: str) -> None:
    """What a run has made, as an artifact."""
    create_markdown_artifact(text, key=f"summary-{key_of(out)}", description=f"Summary of {out}")


def tell(what: str, telling: Callable[[], object], always: bool = False) -> bool:
    """Hand something to Prefect's server, if it can be had; returns whether it was taken."""
    global _quiet_until
    if not always and time.monotonic() < _quiet_until:
        return False
    try:
        telling()
        return True
    except Exception as error:  # whatever Prefect's client raises: the store is the record
        _quiet_until = time.monotonic() + QUIET_S
        log.warning("%s could not be written: %s", what, one_line(error, 300))
        return False


def loss_lines(lost: Sequence[Loss]) -> list[str]:
    """One line for all that was lost at a stage for the same reason, the most frequent first."""
    count = Counter[tuple[str, str]]()
    for loss in lost:
        count[loss.stage, one_line(loss.why, 300)] += len(loss.keys)
    return [f"{stage}: {n} left pending by: {why}" for (stage, why), n in count.most_common()]


def tell_end(result: Result) -> None:
    for watcher in ended:
        watcher(result)
