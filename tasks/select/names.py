"""Names of files in a bucket and in a caption table, and whether one may mean the other.

A row fits a file when one name is the other without outer folders: `a/x.mp4` fits `videos/a/x.mp4`, `/old/disk/a/x.mp4`
and `x.mp4`, but not `b/x.mp4`. Endings may differ or be missing.
"""

import unicodedata
from collections.abc import Iterable


def plain(name: str) -> str:
    """One spelling for a path: forward slashes, no `.` or empty parts, composed Unicode."""
    parts = unicodedata.normalize("NFC", name).replace("\\", "/").split("/")
    return "/".join(p for p in parts if p not in ("", "."))


def stem(name: str) -> str:
    """The name without its ending; its folders stay."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + (base.rpartition(".")[0] or base)


def family(name: str) -> str:
    """The last part up to its first dot: the same for all names that fit each other, with endings or without."""
    return name.rpartition("/")[2].partition(".")[0]


def tails(name: str) -> list[str]:
    """`a/b/c`, `b/c`, `c`: the name without its outer folders."""
    found = [name]
    while "/" in name:
        name = name.partition("/")[2]
        found.append(name)
    return found


class Names:
    """The names of all videos, to tell rows that may mean one of them from those that cannot.

    Of each name only what is left without its ending is held: there may be very many.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._stems: dict[str, bool] = {}
        """With and without outer folders; whether it is all of a name."""
        for name in map(plain, names):
            whole, *below = tails(stem(name))
            self._stems[whole] = True
            for tail in below:
                self._stems.setdefault(tail, False)

    def may_mean(self, name: str) -> bool:
        """Whether some video may fit `name`; one that fits better may take it from that video still."""
        name = plain(name)
        last = name.rpartition("/")[2]
        if not any(form in self._stems for form in _without_endings(last)):  # which settles most rows at once
            return False
        forms = _without_endings(name)
        return any(form in self._stems or any(map(self._stems.get, tails(form))) for form in forms)


def _without_endings(name: str) -> tuple[str, str, str]:
    """With its ending, without, and without what is one then: a row `a.b.mp4` may mean the video `a.b`."""
    return name, stem(name), stem(stem(name))
