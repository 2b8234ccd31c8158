"""Caption sidecars: tables in CSV, JSON, JSONL or Parquet, one row a video (docs/stages/select.md).

Which columns to read is worked out from the names found, or said by the settings. A row that cannot be used stays in
the result with its problem, so that its video is rejected for that reason and not for having no caption.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from pydantic import Field

from schemas.settings import Settings
from schemas.text import caption_problem
from tasks.errors import UserError
from tasks.select.cells import Cells, fold
from tasks.select.names import Names
from tasks.select.tables import digest_of_file, missing, read_table, table_kind
from tasks.store.listing import walk_remote
from tasks.store.places import StorageOptions, file_system, local_path, local_uri, printable, without_credentials
from tasks.store.remote import Remote

Dialect = Literal["auto", "generic", "hoigen", "pe_video", "openvid"]


NAMED_ORPHANS = 1000
"""Rows without a video that are put on record one by one; the rest is one row that counts them."""


class ColumnMap(Settings):
    """Column names of a sidecar of one's own."""

    video: str = Field(description="Column with the file name or path of the video")
    caption: str = Field(description="Column with the caption")
    dataset: str | None = Field(default=None, description="Column that says where the video comes from")
    license: str | None = Field(default=None, description="Column with the licence")


class SidecarSettings(Settings):
    columns: Dialect | ColumnMap = Field(
        default="auto",
        description="Which columns to read: auto, generic, hoigen, pe_video, openvid, or the names themselves",
    )
    max_caption_chars: int = Field(default=4000, ge=1, le=100_000, description="Longer captions are rejected")
    dataset: str | None = Field(
        default=None, description="Dataset of rows that name none; by default the dialect's name, or 'unknown'"
    )
    license: str | None = Field(default=None, description="Licence of rows that name none")


@dataclass(frozen=True)
class _Columns:
    """Names that may hold each field, best first. Of `caption`, the first that is not empty in a row counts."""

    dataset_name: str
    video: tuple[str, ...]
    caption: tuple[str, ...]
    dataset: tuple[str, ...] = ("dataset", "source")
    license: tuple[str, ...] = ("license", "licence")


_VIDEO = ("video", "video_path", "video_name", "file_name", "filename", "file", "path", "name", "video_id", "id")
_CAPTION = ("caption", "text", "prompt", "description")

_DIALECTS: dict[str, _Columns] = {
    "generic": _Columns("unknown", _VIDEO, _CAPTION),
    # HOIGen-1M (arXiv 2503.23715), `HOIGen_caption_info.csv`. The file is behind a form and its header is not
    # published, so the usual names are tried.
    "hoigen": _Columns("hoigen", _VIDEO, ("caption", "dense_caption", "long_caption", *_CAPTION[1:])),
    # PE-Video (arXiv 2504.13181): one JSON a video with `video_id`, `human_caption`, `model_caption`; people's captions
    # go first, as the card calls them the verified ones.
    "pe_video": _Columns("pe_video", ("video_id", "__key__", *_VIDEO[:-2]), ("human_caption", "model_caption")),
    # OpenVid-1M (arXiv 2407.02371), `OpenVid-1M.csv`: video, caption, aesthetic score, motion score, temporal
    # consistency score, camera motion, frame, fps, seconds.
    "openvid": _Columns("openvid", ("video",), ("caption",), dataset=()),
}


@dataclass(frozen=True, slots=True)
class CaptionRow:
    """One row. `caption` is None where the row has none; `problem` says why the row cannot be used."""

    name: str
    """The video, as the sidecar calls it: a path, a file name, or a stem."""
    place: str
    """Where the row stands, for messages."""
    caption: str | None
    dataset: str
    license: str | None
    problem: str | None = None


@dataclass(frozen=True)
class Captions:
    """The rows of a sidecar, and what holds for videos that have none."""

    rows: tuple[CaptionRow, ...] = ()
    dataset: str = "unknown"
    license: str | None = None
    beyond: int = 0
    """Rows left out of `rows`, for none of the videos can be meant by them."""


def load_captions(
    uri: str,
    settings: SidecarSettings,
    storage_options: StorageOptions | None = None,
    names: Names | None = None,
) -> Captions:
    """Read one table, or every table in a folder (PE-Video as unpacked: one JSON a video, named like it).

    names: of all videos. A table may be far larger than the bucket, so of the rows that fit none of them only the first
    NAMED_ORPHANS are kept; None keeps all. UserError where the sidecar is missing, is no table, or lacks a column; the
    message names the columns found.
    """
    shown = without_credentials(uri)
    rows: list[CaptionRow] = []
    default: _Columns | None = None
    orphans = 0
    for table in _tables(uri, storage_options or {}):
        label = printable(table.rpartition("/")[2])
        chooser = _Chooser(settings, label)
        with closing(read_table(table, storage_options or {}, chooser)) as cells_of_rows:
            for cells in cells_of_rows:
                name, problem = _name(cells, chooser)
                if names is not None and not (name and names.may_mean(name)):
                    orphans += 1
                    if orphans > NAMED_ORPHANS:
                        continue
                rows.append(_row(cells, name, problem, chooser))
        default = default or chooser.columns
    if not rows:
        raise UserError(f"the caption sidecar {shown} has no rows")
    dataset = settings.dataset or (default.dataset_name if default else "unknown")
    beyond = max(0, orphans - NAMED_ORPHANS)
    return Captions(tuple(rows), dataset, settings.license, beyond)


def digest_of(uri: str, settings: SidecarSettings, storage_options: StorageOptions | None = None) -> str:
    """SHA-256 over all that `load_captions` would read, which is not parsed: a hundredth of the work. UserError."""
    digest = hashlib.sha256(settings.model_dump_json().encode())
    for table in _tables(uri, storage_options or {}):
        digest.update(table.encode() + b"\0" + digest_of_file(table, storage_options or {}))
    return digest.hexdigest()


def _tables(uri: str, options: StorageOptions) -> list[str]:
    """The sidecar itself, or the tables in it where it is a folder, sorted."""
    shown = without_credentials(uri)
    path = local_path(uri if "://" in uri else local_uri(uri))
    try:
        if path is not None:
            if not path.exists():
                raise missing(shown)
            if path.is_file():
                return [local_uri(str(path))]
            if not path.is_dir():  # a pipe cannot be read twice, and a device may never end
                raise UserError(f"the caption sidecar {shown} is neither a file nor a folder")
            names = [local_uri(str(p)) for p in path.rglob("*") if p.is_file() and not p.name.startswith(".")]
        else:
            fs, root = file_system(uri, options)
            remote = Remote(fs)
            if not remote.ask("exists", root):
                raise missing(shown)
            if remote.ask("isfile", root):
                return [uri]
            listed = walk_remote(remote, root)
            names = [remote.shown(info.get("address", f"{root}/{name}")) for name, info in listed]
    except PermissionError as error:
        raise UserError(f"no permission to read the caption sidecar {shown}") from error
    tables = sorted(n for n in names if table_kind(n))
    if not tables:
        raise UserError(f"the caption sidecar {shown} is a folder without CSV, JSON, JSONL or Parquet files")
    return tables


class _Chooser:
    """Picks the columns to read from a table with the header that it is shown; `columns` is what the last one gave."""

    def __init__(self, settings: SidecarSettings, label: str) -> None:
        self.settings, self.label = settings, label
        self.columns = _DIALECTS["generic"]
        self.mapped = isinstance(settings.columns, ColumnMap)

    def __call__(self, header: Sequence[str]) -> list[str]:
        """The names of the columns, as the header spells them. UserError where one is missing or there twice."""
        present = Counter(fold(h) for h in header)
        columns, optional = self._columns(present)
        for role, names in (("video", columns.video), ("caption", columns.caption), ("", optional)):
            if names and not any(n in present for n in names):
                wanted = " or ".join(repr(n) for n in names[:4])
                found = ", ".join(repr(printable(h)) for h in header[:20])
                raise UserError(
                    f"{self.label} has no {role + ' ' if role else ''}column {wanted}; it has {found}. "
                    "Name them: --set 'sidecar.columns={video: NAME, caption: NAME}'"
                )
        read = {*columns.video, *columns.caption, *columns.dataset, *columns.license}
        twice = next((h for h in header if fold(h) in read and present[fold(h)] > 1), None)
        if twice is not None:
            raise UserError(f"{self.label} has the column {printable(twice)!r} twice: rename the one not to be read")
        self.columns = columns
        return [h for h in header if fold(h) in read]

    def _columns(self, present: Container[str]) -> tuple[_Columns, tuple[str, ...]]:
        """The columns, and those of them that the user named although they are not needed."""
        asked = self.settings.columns
        if isinstance(asked, ColumnMap):
            more = [(fold(c),) if c else () for c in (asked.dataset, asked.license)]
            missing = tuple(c for (c,) in filter(None, more) if c not in present)
            return _Columns("unknown", (fold(asked.video),), (fold(asked.caption),), *more), missing
        if asked == "auto":
            openvid = "aesthetic score", "motion score", "temporal consistency score"
            asked = "openvid" if any(n in present for n in openvid) else "generic"
            if "human_caption" in present or "model_caption" in present:
                asked = "pe_video"
        return _DIALECTS[asked], ()


def _name(cells: Cells, chooser: _Chooser) -> tuple[str | None, str | None]:
    """What the row calls its video, and why that cannot be told.

    A row may be called one thing by its key and another by a cell. A file name goes before anything else, and a name
    before a bare number: pandas numbers rows, and tables number videos.
    """
    key = cells.key
    inside = _first(cells.values, chooser.columns.video)
    if key is None or inside is None or chooser.mapped:
        return inside or key, None
    if _ENDING.search(key) or inside == key:
        return key, None
    if _ENDING.search(inside):
        return inside, None
    if key.isdigit() != inside.isdigit():
        return (inside if key.isdigit() else key), None
    return key, f"the row is called {printable(key)[:80]!r}, and {printable(inside)[:80]!r} in its own cells"


_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")


def _row(cells: Cells, name: str | None, problem: str | None, chooser: _Chooser) -> CaptionRow:
    columns, settings = chooser.columns, chooser.settings
    place = f"{chooser.label} {cells.place}".strip()
    dataset = _first(cells.values, columns.dataset) or settings.dataset or columns.dataset_name
    license_ = _first(cells.values, columns.license) or settings.license
    problem = cells.problem or problem or (None if name else "the row names no video")
    caption = next((v for v in _cells_of(cells.values, columns.caption) if v not in (None, "")), None)
    if problem is None and caption is not None:
        if not isinstance(caption, str):
            many = f" of {len(caption)}" if isinstance(caption, list) else ""
            problem = f"the caption is a {type(caption).__name__}{many}, not text"
        else:
            problem = caption_problem(caption, settings.max_caption_chars)
    text = " ".join(caption.split()) if isinstance(caption, str) and problem is None else None
    return CaptionRow(printable(name or place)[:1000], place, text or None, printable(dataset)[:200],
                      printable(license_)[:200] if license_ else None, problem)  # fmt: skip


def _first(values: Mapping[str, object], names: Sequence[str]) -> str | None:
    """The first of the named cells that holds something, as text; identifiers may be numbers."""
    for value in _cells_of(values, names):
        if isinstance(value, float | Decimal) and value == value // 1:
            value = int(value)  # 12.0 is how a number stands in a column in which another cell is empty
        if isinstance(value, str | int | float | Decimal) and not isinstance(value, bool) and str(value).strip():
            return str(value).strip()
    return None


def _cells_of(values: Mapping[str, object], names: Sequence[str]) -> Iterator[object]:
    """The cells of these columns in the order of `names`, out of what other tools wrap them in."""
    for name in names:
        value = values.get(name)
        if isinstance(value, dict) and "path" in value:  # datasets: {path, bytes}
            value = value["path"]
        if isinstance(value, list) and len(value) < 2:
            value = value[0] if value else None
        if value is not None and value == value:  # not a number is how pandas writes an empty cell
            yield value
