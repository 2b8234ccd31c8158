"""Which caption row means which video. Where that is not plain the row is marked, never guessed.

A row fits a file when one name is the other without outer folders: `a/x.mp4` fits `videos/a/x.mp4`, `/old/disk/a/x.mp4`
and `x.mp4`, but not `b/x.mp4`. Equal names come first, then names with their ending, then without; in each round the
pair that shares the most folders wins.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tasks.select.sidecar import CaptionRow


@dataclass(frozen=True)
class Video:
    """A file: its name below the root, and its content where that is known (equal content is one video)."""

    uri: str
    name: str
    digest: str | None


@dataclass
class Matches:
    """The outcome by URI of the video, and the rows that fit none (indices, rising)."""

    row: dict[str, CaptionRow] = field(default_factory=dict)
    problem: dict[str, str] = field(default_factory=dict)
    orphans: list[int] = field(default_factory=list)


def match(videos: Sequence[Video], rows: Sequence[CaptionRow]) -> Matches:
    """Give each row to the video it means, whatever the order of the videos; among equal rows the first counts."""
    result = Matches()
    video_names = [_plain(v.name) for v in videos]
    row_names = [_plain(r.name) for r in rows]
    open_videos, open_rows = set(range(len(videos))), set(range(len(rows)))
    for video_form, row_form, folders in _ROUNDS:
        left = {v: video_form(video_names[v]) for v in open_videos}
        right = {r: row_form(row_names[r]) for r in open_rows}
        by_row: dict[int, list[int]] = defaultdict(list)
        by_video: dict[int, list[int]] = defaultdict(list)
        for v, r in _pairs(left, right, folders):
            by_row[r].append(v)
            by_video[v].append(r)
        for r, fits in by_row.items():
            if len({videos[v].digest or videos[v].uri for v in fits}) > 1:
                names = ", ".join(sorted(videos[v].name for v in fits)[:3])
                for v in fits:
                    result.problem[videos[v].uri] = (
                        f"the caption row {rows[r].name!r} ({rows[r].place}) fits {len(fits)} videos ({names} …); "
                        "write their paths in the sidecar"
                    )
        for v, fits in by_video.items():
            if videos[v].uri in result.problem:
                continue
            fits.sort()
            if len({(rows[r].caption, rows[r].problem) for r in fits}) > 1:
                places = ", ".join(rows[r].place for r in fits[:3])
                result.problem[videos[v].uri] = f"{len(fits)} caption rows differ ({places})"
            else:
                result.row[videos[v].uri] = rows[fits[0]]
        open_videos -= by_video.keys()
        open_rows -= by_row.keys()
    result.orphans = sorted(open_rows)
    return result


def _plain(name: str) -> str:
    """One spelling for a path: forward slashes, no `.` or empty parts, composed Unicode."""
    parts = unicodedata.normalize("NFC", name).replace("\\", "/").split("/")
    return "/".join(p for p in parts if p not in ("", "."))


def _stem(name: str) -> str:
    folder, slash, base = name.rpartition("/")
    return folder + slash + (base.rpartition(".")[0] or base)


def _same(name: str) -> str:
    return name


_ROUNDS: tuple[tuple[Callable[[str], str], Callable[[str], str], bool], ...] = (
    (_same, _same, False),
    (_same, _same, True),
    (_stem, _same, True),
    (_stem, _stem, True),
)
"""Forms of the video's and the row's name to compare, and whether outer folders may be missing."""


def _tails(name: str) -> list[str]:
    """`a/b/c`, `b/c`, `c`: the name without its outer folders."""
    parts = name.split("/")
    return ["/".join(parts[i:]) for i in range(len(parts))]


def _pairs(videos: dict[int, str], rows: dict[int, str], folders: bool) -> list[tuple[int, int]]:
    """Pairs (video, row) whose names fit, without those for which one side has a closer partner."""
    by_name: dict[str, list[int]] = defaultdict(list)
    by_tail: dict[str, list[int]] = defaultdict(list)
    for r, name in rows.items():
        by_name[name].append(r)
        if folders:
            for tail in _tails(name)[1:]:
                by_tail[tail].append(r)
    found: list[tuple[int, int, int]] = []
    for v, name in videos.items():
        for tail in _tails(name) if folders else [name]:
            found += [(v, r, tail.count("/")) for r in by_name.get(tail, ())]
        found += [(v, r, name.count("/")) for r in by_tail.get(name, ())]
    best_of_video: dict[int, int] = defaultdict(int)
    best_of_row: dict[int, int] = defaultdict(int)
    for v, r, shared in found:
        best_of_video[v] = max(best_of_video[v], shared)
        best_of_row[r] = max(best_of_row[r], shared)
    return sorted((v, r) for v, r, shared in found if shared == best_of_video[v] == best_of_row[r])
