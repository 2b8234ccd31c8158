"""Caption sidecars: tables in CSV, JSON, JSONL or Parquet, one row a video (docs/stages/scan.md).

Which columns to read is worked out from the names found, or said by the settings. A row that cannot be used stays in
the result with its problem, so that its video is rejected for that reason and not for having no caption.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from schemas.settings import Settings
from schemas.text import caption_problem
from tasks.errors import InfrastructureError, UserError
from tasks.select.tables import Cells, read_table, table_kind
from tasks.store.places import StorageOptions, file_system, local_path, local_uri, printable, without_credentials

Dialect = Literal["auto", "generic", "hoigen", "pe_video", "openvid"]


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


@dataclass(frozen=True)
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


def load_captions(uri: str, settings: SidecarSettings, storage_options: StorageOptions | None = None) -> Captions:
    """Read one table, or every table in a folder (PE-Video as unpacked: one JSON a video, named like it).

    UserError where the sidecar is missing, is no table, or lacks a column; the message names the columns found.
    """
    shown = without_credentials(uri)
    rows: list[CaptionRow] = []
    default: _Columns | None = None
    for table in _tables(uri, storage_options or {}):
        columns: _Columns | None = None
        label = printable(table.rpartition("/")[2])
        with closing(read_table(table, storage_options or {})) as cells_of_rows:
            for cells in cells_of_rows:
                columns = columns or _choose(cells.header, settings, label)
                rows.append(_row(cells, columns, settings, label))
        default = default or columns
    if not rows:
        raise UserError(f"the caption sidecar {shown} has no rows")
    name = default.dataset_name if default else "unknown"
    return Captions(tuple(rows), settings.dataset or name, settings.license)


def _tables(uri: str, options: StorageOptions) -> list[str]:
    """The sidecar itself, or the tables in it where it is a folder, sorted."""
    shown = without_credentials(uri)
    path = local_path(uri if "://" in uri else local_uri(uri))
    try:
        if path is not None:
            if not path.exists():
                raise UserError(f"the caption sidecar {shown} does not exist")
            if path.is_file():
                return [local_uri(str(path))]
            if not path.is_dir():  # a pipe cannot be read twice, and a device may never end
                raise UserError(f"the caption sidecar {shown} is neither a file nor a folder")
            names = [local_uri(str(p)) for p in path.rglob("*") if p.is_file() and not p.name.startswith(".")]
        else:
            fs, root = file_system(uri, options)
            if not fs.exists(root):
                raise UserError(f"the caption sidecar {shown} does not exist")
            if fs.isfile(root):
                return [uri]
            names = [fs.unstrip_protocol(p) for p in fs.find(root)]
    except PermissionError as error:
        raise UserError(f"no permission to read the caption sidecar {shown}") from error
    except (UserError, OSError):
        raise
    except Exception as error:
        raise InfrastructureError(f"cannot read {shown}: {type(error).__name__}: {error}") from error
    tables = sorted(n for n in names if table_kind(n))
    if not tables:
        raise UserError(f"the caption sidecar {shown} is a folder without CSV, JSON, JSONL or Parquet files")
    return tables


def _choose(header: Sequence[str], settings: SidecarSettings, label: str) -> _Columns:
    """The columns to read from a table with this header. UserError where one is missing."""
    present = {_fold(h) for h in header}
    asked = settings.columns
    if isinstance(asked, ColumnMap):
        columns = _Columns(
            "unknown", (asked.video,), (asked.caption,),
            (asked.dataset,) if asked.dataset else (), (asked.license,) if asked.license else (),
        )  # fmt: skip
        optional = [c for c in (asked.dataset, asked.license) if c and _fold(c) not in present]
    else:
        if asked == "auto":
            openvid = {"aesthetic score", "motion score", "temporal consistency score"}
            by_names = "openvid" if present & openvid else "generic"
            asked = "pe_video" if present & {"human_caption", "model_caption"} else by_names  # type: ignore[assignment]
        columns, optional = _DIALECTS[asked], []
    for role, names in (("video", columns.video), ("caption", columns.caption), ("", tuple(optional))):
        if names and not present & {_fold(n) for n in names}:
            wanted = " or ".join(repr(n) for n in names[:4])
            found = ", ".join(repr(printable(h)) for h in header[:20])
            raise UserError(
                f"{label} has no {role + ' ' if role else ''}column {wanted}; it has {found}. "
                "Name them: --set 'sidecar.columns={video: NAME, caption: NAME}'"
            )
    return columns


def _fold(name: str) -> str:
    return name.strip().casefold()


def _row(cells: Cells, columns: _Columns, settings: SidecarSettings, label: str) -> CaptionRow:
    place = f"{label} {cells.place}"
    values = {_fold(k): v for k, v in cells.values.items()}
    dataset = _first(values, columns.dataset) or settings.dataset or columns.dataset_name
    license_ = _first(values, columns.license) or settings.license
    name = cells.stem or _first(values, columns.video)
    problem = cells.problem
    if name is None:
        name, problem = place, problem or "the row names no video"
    caption = next((v for c in columns.caption if (v := values.get(_fold(c))) not in (None, "")), None)
    if problem is None and caption is not None:
        if not isinstance(caption, str):
            problem = f"the caption is a {type(caption).__name__}, not text"
        else:
            problem = caption_problem(caption, settings.max_caption_chars)
    text = " ".join(caption.split()) if isinstance(caption, str) and problem is None else None
    return CaptionRow(printable(name)[:1000], place, text or None, printable(dataset)[:200],
                      printable(license_)[:200] if license_ else None, problem)  # fmt: skip


def _first(values: Mapping[str, object], names: Sequence[str]) -> str | None:
    """The first of the named cells that holds something, as text; identifiers may be numbers."""
    for name in names:
        value = values.get(_fold(name))
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
            return str(value).strip()
    return None
