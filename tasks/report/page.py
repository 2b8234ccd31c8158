"""Puts the report together: numbers from the store and the dataset into `template.html.j2`.

The page loads nothing and runs no script. Captions, file names and model names come from outside: they reach the page
through Jinja's autoescape only.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Protocol

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from schemas import Usage
from schemas.dataset import INDEX_FILE, DatasetFile, IndexRow
from schemas.palette import css
from tasks.dataset.reader import DatasetError, index_rows, read_dataset
from tasks.report.gallery import Picks, exhibits
from tasks.report.stats import SIDE_EDGES, Stats, collect, top
from tasks.store.folder import Folder

REPORT_FILE = "report.html"


class StageLine(Protocol):
    """A stage's line in the funnel: `arrived = accepted + sum(rejected) + pending`."""

    @property
    def stage(self) -> str: ...
    @property
    def arrived(self) -> int: ...
    @property
    def accepted(self) -> int: ...
    @property
    def rejected(self) -> Mapping[str, int]:
        """Counts by reason code."""
        ...

    @property
    def pending(self) -> int: ...
    @property
    def seconds(self) -> float:
        """Work on record, summed over workers."""
        ...

    @property
    def usage(self) -> Usage | None:
        """Requests and tokens of models behind a server; None where none was asked."""
        ...


@dataclass(frozen=True)
class ReportData:
    """What the page is made from. The dataset's own figures are read from its folder."""

    funnel: Sequence[StageLine]
    dataset: Folder | None = None
    """None, or a folder without `dataset.json`: nothing was accepted yet."""
    source: str = ""
    models: Mapping[str, str] = field(default_factory=dict)
    """Which model it is, per kind of engine: as the settings name it, and as it was found where they leave it open."""
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    meanings: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """What a reason code means at a stage, by (stage, code)."""
    remarks: Sequence[str] = ()
    """What the stages have to tell of all their rows together."""
    resume: str = ""
    """The command that goes on with this build."""
    gallery: int = 12
    """Samples shown with overlays."""


@dataclass(frozen=True)
class FunnelRow:
    """A stage as the page's table has it."""

    stage: str
    arrived: int
    accepted: int
    rejected: int
    pending: int
    reasons: list[tuple[str, int]]
    seconds: float
    rate: float | None
    """Clips (files, videos) a second of work; None where no time is on record."""

    def share(self, part: int) -> float:
        """Percent of what arrived."""
        return 100 * part / self.arrived if self.arrived else 0.0


def funnel_rows(lines: Sequence[StageLine]) -> list[FunnelRow]:
    """The funnel as rows: reasons by falling count, throughput over the work on record."""
    return [
        FunnelRow(
            stage=line.stage,
            arrived=line.arrived,
            accepted=line.accepted,
            rejected=sum(line.rejected.values()),
            pending=line.pending,
            reasons=sorted(line.rejected.items(), key=lambda kv: (-kv[1], kv[0])),
            seconds=line.seconds,
            rate=(line.arrived - line.pending) / line.seconds if line.seconds > 0 else None,
        )
        for line in lines
    ]


def write_report(data: ReportData, dest: Folder) -> str:
    """Write `report.html` into `dest` and return its path. DatasetError where the dataset is damaged."""
    dest.write(REPORT_FILE, render(data).encode())
    return dest.shown(REPORT_FILE)


def render(data: ReportData) -> str:
    """The page. Same data and dataset, same page."""
    account = read_dataset(data.dataset) if data.dataset else None
    context: dict[str, Any] = {"data": data, "funnel": funnel_rows(data.funnel), "account": account, "exhibits": []}
    if data.dataset and account and account.counts.samples:
        picks = Picks(data.gallery)
        stats = collect(picks.watch(_rows(data.dataset, account)))
        context |= {"stats": _plots(stats), "seconds": stats.seconds}
        context["exhibits"] = exhibits(data.dataset, picks.chosen())
    environment = Environment(
        loader=PackageLoader("tasks.report", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["duration"] = duration
    environment.filters["amount"] = amount
    environment.filters["css"] = css
    style = files("tasks.report").joinpath("style.css").read_text(encoding="utf-8")
    return environment.get_template("template.html.j2").render(style=Markup(style), **context)


def _rows(dataset: Folder, account: DatasetFile) -> Iterator[IndexRow]:
    if not dataset.exists(INDEX_FILE):
        raise DatasetError(f"{INDEX_FILE} is gone from {dataset.uri}; see `matrix_data verify`")
    listed = {s.name for s in account.shards}
    with dataset.open(INDEX_FILE) as stream:
        yield from (row for row in index_rows(stream) if row.shard in listed)


@dataclass(frozen=True)
class Bar:
    """One bar: `percent` of the longest."""

    name: str
    count: int
    percent: float


def bars(pairs: Sequence[tuple[str, int]]) -> list[Bar]:
    longest = max((n for _, n in pairs), default=0) or 1
    return [Bar(name, n, 100 * n / longest) for name, n in pairs]


def _plots(stats: Stats) -> dict[str, Any]:
    peak = max(max(row) for row in stats.joint) or 1
    edges = [f"{edge:.3g}" for edge in SIDE_EDGES]
    return {
        "joint": [[(n, n / peak) for n in row] for row in stats.joint],
        "interactions": bars(_every(stats.interactions)),
        "instances": bars(_every(stats.instances)),
        "verbs": bars(top(stats.verbs, 50)),
        "nouns": bars(top(stats.nouns, 50)),
        "sources": bars(top(stats.sources, 20)),
        "licences": bars(top(stats.licences, 20)),
        "sides": bars([(f"{a}–{b}", n) for a, b, n in zip(edges, [*edges[1:], "1"], stats.sides, strict=True)]),
    }


def _every(counter: Mapping[int, int]) -> list[tuple[str, int]]:
    """Every whole number from 1 to the largest, those that never occur too."""
    return [(str(k), counter.get(k, 0)) for k in range(1, max(counter, default=0) + 1)]


def duration(seconds: float) -> str:
    """'48 s', '12 min', '3.1 h'."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def amount(size: int) -> str:
    """'812 kB', '5.1 MB', '3.4 GB', in powers of ten."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size} bytes"
