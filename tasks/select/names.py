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
    """The names of all videos, to tell rows that may mean one of them from those that cannot."""

    def __init__(self, names: Iterable[str]) -> None:
        self._whole: set[str] = set()
        self._tails: set[str] = set()
        for name in map(plain, names):
            for form in {name, stem(name)}:
                self._whole.add(form)
                self._tails.update(tails(form))

    def may_mean(self, name: str) -> bool:
        """Whether some video fits `name`; a file that fits better may take it from that video still."""
        name = plain(name)
        last = name.rpartition("/")[2]
        if last not in self._tails and stem(last) not in self._tails:  # which settles most rows at once
            return False
        return any(f in self._tails or not self._whole.isdisjoint(tails(f)) for f in (name, stem(name)))
