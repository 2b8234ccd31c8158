"""A caption cut at the words that its triplets are made of, for pages that mark them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from schemas import Interaction
from schemas.base import InstanceId

Role = Literal["", "subject", "verb", "object"]


@dataclass(frozen=True)
class Stretch:
    """Words that play one role, if any; `id` is that of a subject or an object."""

    text: str
    role: Role = ""
    id: InstanceId = ""


def stretches(caption: str, acts: Sequence[Interaction]) -> list[Stretch]:
    """The whole caption in order. Where spans meet, the first triplet's holds, and of one triplet the nouns'."""
    marks: list[tuple[Role, InstanceId]] = [("", "")] * len(caption)
    for act in acts:
        roles: tuple[tuple[Role, InstanceId], ...] = (("subject", act.subject), ("object", act.object), ("verb", ""))
        for mark, spans in zip(roles, (act.spans.subject, act.spans.object, act.spans.verb), strict=True):
            for place in (place for span in spans for place in range(span.start, span.end)):
                marks[place] = mark if marks[place] == ("", "") else marks[place]
    found: list[Stretch] = []
    for letter, (role, name) in zip(caption, marks, strict=True):
        if found and (found[-1].role, found[-1].id) == (role, name):
            found[-1] = Stretch(found[-1].text + letter, role, name)
        else:
            found.append(Stretch(letter, role, name))
    return found
