"""What a stage's settings leave open is found once, by the run that begins the stage, and holds for all that follow.

A fingerprint knows what settings say: a model's name, or that the server's only model is meant. Which weights lie under
that name, or what the server serves, only a run can see. The first one writes it into the stage's folder, where a
later one that finds something else is told, before its first clip: rows of two models are never mixed in silence.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from tasks.errors import UserError
from tasks.store.folder import Folder

PREFIX, SUFFIX = "engine-", ".txt"


class Pins:
    """What the engines of one stage turned out to be. Safe for threads and for processes that share the folder."""

    def __init__(self, folder: Folder) -> None:
        """folder: the stage's under its fingerprint, `work/<stage>/<fingerprint>`."""
        self.folder = folder

    def read(self) -> dict[str, str]:
        """By kind of engine what is on record; empty before the stage has begun. Needs no engine."""
        names = [n for n in self.folder.names() if n.startswith(PREFIX) and n.endswith(SUFFIX)]
        return {n.removeprefix(PREFIX).removesuffix(SUFFIX): self._kept(n) for n in names}

    def check(self, kind: str, resolved: str | None, begun: bool = True) -> None:
        """Hold `resolved`, one line, against what is on record, and put it there where nothing is yet.

        begun: whether the stage has rows; while it has none, what is found now takes the place of what is on record.

        resolved: what the engine found (`engine.resolved`); None, of one whose settings leave nothing open, is not put
        on record. UserError where the stage was begun with something else.
        """
        if resolved is None:
            return
        name = f"{PREFIX}{kind}{SUFFIX}"
        with self._alone():
            if not begun:
                self.folder.remove(name)
            if name not in self.folder.names():
                self._put(name, resolved)
        if (kept := self._kept(name)) != resolved:
            raise UserError(
                f"engines.{kind}: this stage was begun with another model: {kept} is on record, {resolved} is found "
                f"now: put the old one back, or begin the stage anew: set `revision` in engines.{kind}.options to a "
                "name for the new one"
            )

    def _kept(self, name: str) -> str:
        return self.folder.read(name).decode("utf-8", "replace").strip()

    def _put(self, name: str, resolved: str) -> None:
        data = f"{resolved}\n".encode()
        if self.folder.local:
            self.folder.write(name, data)
            return
        self.folder.create_exclusively(name, data)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process on this folder; an object store has no lock, and makes a file once by itself."""
        if not self.folder.local:
            yield
            return
        root = Path(self.folder.root)
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".engines.lock"):
            yield
