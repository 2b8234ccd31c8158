"""Placeholder until the branch `engines` lands."""

from tasks.store.folder import Folder


class Pins:
    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def check(self, kind: str, resolved: str | None) -> None:
        return None

    def read(self) -> dict[str, str]:
        return {}
