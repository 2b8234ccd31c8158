"""A triplet that a person has changed: checked, and its spans found again in the caption."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from schemas import Captioned, Interaction, Record
from schemas.base import InstanceId, Score5
from tasks.caption.spans import Roles, locate
from tasks.review.patches import Act
from tasks.review.words import Reviewable


class Wanted(Record):
    """What the page sends of a triplet. `remove` takes it out."""

    op: Literal["act"]
    text: str = Field(max_length=200, description="of the triplet that is changed")
    subject: InstanceId = "id1"
    verb: str = Field(default="", max_length=120)
    object: InstanceId = "id2"
    contact: Score5 = 3
    dynamism: Score5 = 3
    remove: bool = False


def edited(seen: Reviewable, acts: Sequence[Interaction], new: Wanted) -> Act:
    """The change as it goes on record. ValueError where the caption does not say it."""
    old = next((act for act in acts if act.text == new.text), None)
    if old is None:
        raise ValueError("there is no such triplet in this clip")
    if new.remove:
        return Act(text=new.text, act=None)
    if not {new.subject, new.object} <= seen.masks.keys() or new.subject == new.object:
        raise ValueError("a triplet names two tracks of this clip")
    captioned = seen.case.of(Captioned)
    names = {i.id: (i.cls, i.noun, i.noun) for i in captioned.instances}
    roles = Roles(
        verb=new.verb,
        subject=names[new.subject],
        object=names[new.object],
        sentence=old.source_sentence,
        others=tuple(n for i, n in names.items() if i not in (new.subject, new.object)),
    )
    found = locate(captioned.caption, roles)
    if isinstance(found, str):
        raise ValueError(f"the caption does not say so: {found}")
    text = f"<{new.subject}> {new.verb} <{new.object}>"
    if any(act.text == text for act in acts if act is not old):
        raise ValueError("the clip has that triplet already")
    rating = old.rating.model_copy(update={"contact": new.contact, "dynamism": new.dynamism})
    change = {"subject": new.subject, "verb": new.verb, "object": new.object, "text": text, "spans": found[0]}
    return Act(text=new.text, act=old.model_copy(update={**change, "rating": rating}))
