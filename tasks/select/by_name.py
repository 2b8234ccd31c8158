"""Which caption row means which video. Where that is not plain the row is marked, never guessed.

What fits what is said in tasks/select/names.py. Equal names come first, then names with their ending, then without; in
each round the pair that shares the most folders wins.
"""

import zlib
from array import array
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tasks.select.names import family, plain, stem, tails
from tasks.select.sidecar import CaptionRow


class Video(NamedTuple):
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


AT_ONCE = 20_000
"""Videos and rows, about, that are matched at a time: only names of one family can fit, so families go one by one."""


def match(videos: Sequence[Video], rows: Sequence[CaptionRow]) -> Matches:
    """Give each row to the video it means, whatever the order of the videos; among equal rows the first counts."""
    result, parts = Matches(), 1 + (len(videos) + len(rows)) // AT_ONCE
    videos_of, rows_of = [array("L") for _ in range(parts)], [array("L") for _ in range(parts)]
    for some, names in ((videos_of, (v.name for v in videos)), (rows_of, (r.name for r in rows))):
        for at, name in enumerate(names):
            some[zlib.crc32(family(plain(name)).encode("utf-8", "surrogatepass")) % parts].append(at)
    for mine, theirs in zip(videos_of, rows_of, strict=True):
        found = _match([videos[v] for v in mine], [rows[r] for r in theirs])
        result.row |= found.row
        result.problem |= found.problem
        result.orphans += (theirs[r] for r in found.orphans)
    result.orphans.sort()
    return result


def _match(videos: Sequence[Video], rows: Sequence[CaptionRow]) -> Matches:
    result = Matches()
    video_names = [plain(v.name) for v in videos]
    called: dict[str, list[int]] = defaultdict(list)
    for r, row in enumerate(rows):
        called[plain(row.name)].append(r)
    # Rows of one name go together, by the first of them: a table may call thousands the same.
    row_names = {same[0]: name for name, same in called.items()}
    told = {same[0]: _first_of_each(rows, same) for same in called.values()}
    open_videos, open_rows = set(range(len(videos))), set(row_names)
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
            first = sorted(i for r in fits for i in told[r])
            if len({(rows[i].caption, rows[i].problem) for i in first}) > 1:
                number = sum(len(called[row_names[r]]) for r in fits)
                places = ", ".join(rows[i].place for i in first[:3])
                result.problem[videos[v].uri] = f"{number} caption rows differ ({places})"
            else:
                result.row[videos[v].uri] = rows[first[0]]
        open_videos -= by_video.keys()
        open_rows -= by_row.keys()
    result.orphans = sorted(i for r in open_rows for i in called[row_names[r]])
    return result


def _first_of_each(rows: Sequence[CaptionRow], same: Sequence[int]) -> list[int]:
    """Of these rows the first with each caption or problem; three are enough to say that they differ."""
    firsts: dict[tuple[str | None, str | None], int] = {}
    for r in same:
        firsts.setdefault((rows[r].caption, rows[r].problem), r)
        if len(firsts) == 3:
            break
    return list(firsts.values())


def _same(name: str) -> str:
    return name


_ROUNDS: tuple[tuple[Callable[[str], str], Callable[[str], str], bool], ...] = (
    (_same, _same, False),
    (_same, _same, True),
    (stem, _same, True),
    (stem, stem, True),
)
"""Forms of the video's and the row's name to compare, and whether outer folders may be missing."""


def _pairs(videos: dict[int, str], rows: dict[int, str], folders: bool) -> list[tuple[int, int]]:
    """Pairs (video, row) whose names fit, without those for which one side has a closer partner."""
    by_name: dict[str, list[int]] = defaultdict(list)
    by_tail: dict[str, list[int]] = defaultdict(list)
    for r, name in rows.items():
        by_name[name].append(r)
        if folders:
            for tail in tails(name)[1:]:
                by_tail[tail].append(r)
    found: list[tuple[int, int, int]] = []
    for v, name in videos.items():
        for tail in tails(name) if folders else [name]:
            found += [(v, r, tail.count("/")) for r in by_name.get(tail, ())]
        found += [(v, r, name.count("/")) for r in by_tail.get(name, ())]
    best_of_video: dict[int, int] = defaultdict(int)
    best_of_row: dict[int, int] = defaultdict(int)
    for v, r, shared in found:
        best_of_video[v] = max(best_of_video[v], shared)
        best_of_row[r] = max(best_of_row[r], shared)
    return sorted((v, r) for v, r, shared in found if shared == best_of_video[v] == best_of_row[r])
