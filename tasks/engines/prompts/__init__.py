"""Instructions for models: plain files in a folder per version, never filled in with data."""

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files

from tasks.errors import UserError

TURNS = ("count", "triplets", "score", "describe")


@dataclass(frozen=True)
class Prompts:
    """The system texts of the four turns. `version` is the folder's name and a digest of its files."""

    version: str
    texts: dict[str, str]


def load_prompts(folder: str) -> Prompts:
    """The files of the four turns in `<folder>` here. Raises UserError where there is no such folder."""
    texts = {turn: load_prompt(folder, turn) for turn in TURNS}
    digest = hashlib.sha256("\0".join(f"{turn}\0{texts[turn]}" for turn in TURNS).encode()).hexdigest()
    return Prompts(version=f"{folder}-{digest[:12]}", texts=texts)


def load_prompt(folder: str, name: str) -> str:
    """One prompt file of `<folder>` here. Raises UserError where there is none."""
    if not re.fullmatch(r"v[0-9]{1,4}", folder):
        raise UserError(f"`prompts` must name a prompt folder such as 'v1', not {folder!r}")
    file = files(__name__) / folder / f"{name}.md"
    if not file.is_file():
        raise UserError(f"there is no {name}.md in the prompt folder {folder!r}: set `prompts` to one that has it")
    return file.read_text(encoding="utf-8")
