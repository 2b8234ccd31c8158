"""Who does what to whom: what plots decide, sentences say and captions tell."""

from dataclasses import dataclass
from typing import Literal

from tasks.world.words import Verb

Link = Literal["none", "single", "then", "while", "chain"]
"""How the acts of a video belong together."""


@dataclass(frozen=True)
class Act:
    """One verb with its actors, by key. `catch` marks a throw whose end the caption tells too."""

    verb: Verb
    subject: str
    object: str
    recipient: str | None = None
    instrument: str | None = None
    catch: Verb | None = None
