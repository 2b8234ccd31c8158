"""The caption stage's instructions: plain files in a folder per version, read once, never filled in with data."""

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
    """The prompt files of `tasks/prompts/<folder>`. Raises UserError where there is no such folder."""
    if not re.fullmatch(r"v[0-9]{1,4}", folder):
        raise UserError(f"caption.prompts must name a prompt folder such as 'v1', not {folder!r}")
    root = files(__name__) / folder
    if not root.is_dir():
        raise UserError(f"there is no prompt folder {folder!r}: set caption.prompts to one below tasks/prompts")
    texts = {turn: (root / f"{turn}.md").read_text(encoding="utf-8") for turn in TURNS}
    digest = hashlib.sha256("\0".join(f"{turn}\0{texts[turn]}" for turn in TURNS).encode()).hexdigest()
    return Prompts(version=f"{folder}-{digest[:12]}", texts=texts)
