"""Hypothesis strategies for the records, read off the pydantic models, so that a new field is tested at once.

Only what a validator ties together is spelled out here; every other record is drawn field by field.
"""

import types
from enum import Enum
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from schemas import Box, Captioned, Interaction, Row, Sample, Span, Status, Track, Tracked
from schemas.interaction import Instance

B = TypeVar("B", bound=BaseModel)

TEXT = st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=20)
"""Any Unicode that UTF-8 can hold, NUL included."""

SMALL = 4
"""Most items of a list."""


@cache
def records(model: type[B]) -> st.SearchStrategy[B]:
    """Instances of a record class."""
    special = _SPECIAL.get(model.__pydantic_generic_metadata__["origin"] or model)
    return special(model) if special else st.builds(model, **fields(model))


@cache
def fields(model: type[BaseModel]) -> dict[str, st.SearchStrategy[Any]]:
    """A strategy per field."""
    return {name: values(info.annotation, list(info.metadata)) for name, info in model.model_fields.items()}


def values(annotation: Any, limits: list[Any]) -> st.SearchStrategy[Any]:
    """Values of an annotation under its constraints."""
    if hasattr(annotation, "__metadata__"):
        inner: list[Any] = []
        for item in annotation.__metadata__:
            inner += item.metadata if isinstance(item, FieldInfo) else [item]
        return values(get_args(annotation)[0], [*inner, *limits])
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        some = st.one_of(values(a, limits) for a in args if a is not type(None))
        return st.none() | some if type(None) in args else some
    if origin is Literal:
        return st.sampled_from(args)
    least = _limit(limits, MinLen, "min_length", 0)
    most = _limit(limits, MaxLen, "max_length", None)
    if origin is tuple and args[1:] == (Ellipsis,):
        return st.lists(values(args[0], []), min_size=least, max_size=max(SMALL, least)).map(tuple)
    if origin is tuple:
        return st.tuples(*(values(a, []) for a in args))
    if origin is dict:
        return st.dictionaries(values(args[0], []), values(args[1], []), max_size=SMALL)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return records(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return st.sampled_from(annotation)
    if annotation is bool:
        return st.booleans()
    if annotation is int:
        low = _limit(limits, Ge, "ge", -(2**63))
        high = _limit(limits, Le, "le", _limit(limits, Lt, "lt", 2**63) - 1)
        return st.integers(low, high)
    if annotation is float:
        low, high = _limit(limits, Ge, "ge", None), _limit(limits, Le, "le", None)
        above = _limit(limits, Gt, "gt", None)
        return st.floats(
            above if low is None else low, high, exclude_min=above is not None, allow_nan=False, allow_infinity=False
        )
    if annotation is str:
        pattern = next((p for item in limits if (p := getattr(item, "pattern", None))), None)
        if pattern:
            return st.from_regex(pattern.replace("$", r"\Z"), fullmatch=True)
        return st.text(TEXT.wrapped_strategy.element_strategy, min_size=least, max_size=min(most or 20, 20))
    raise TypeError(f"no strategy for {annotation}")


def _limit(limits: list[Any], kind: type, name: str, default: Any) -> Any:
    return next((getattr(item, name) for item in limits if isinstance(item, kind)), default)


@cache
def _spans(end: int) -> st.SearchStrategy[Span]:
    return st.tuples(st.integers(0, end - 1), st.integers(1, end)).map(
        lambda p: Span(start=min(p[0], p[1] - 1), end=max(p[1], p[0] + 1))
    )


def _box(model: type[Box]) -> st.SearchStrategy[Box]:
    sides = st.floats(-1e6, 1e6, allow_nan=False), st.floats(0.001, 1e6, allow_nan=False)
    return st.builds(lambda x, w, y, h: model(x0=x, y0=y, x1=x + w, y1=y + h), sides[0], sides[1], sides[0], sides[1])


@st.composite
def _interaction(
    draw: st.DrawFn, model: type[Interaction], ids: tuple[str, ...] = ("id1", "id2", "id9"), end: int = 50
) -> Interaction:
    parts = fields(model)
    spans = st.lists(_spans(end), min_size=1, max_size=3).map(tuple)
    subject, target = draw(st.permutations(ids))[:2]
    own = {
        "subject": subject,
        "object": target,
        "spans": {"subject": draw(spans), "verb": draw(spans), "object": draw(spans)},
    }
    return model.model_validate({k: draw(v) for k, v in parts.items() if k not in own} | own)


@st.composite
def _with_instances(draw: st.DrawFn, model: type[B]) -> B:
    """Captioned and Sample: IDs are distinct, interactions name them, spans lie in the caption."""
    caption = draw(TEXT.filter(len))
    ids = tuple(f"id{n}" for n in draw(st.lists(st.integers(1, 99), min_size=2, max_size=4, unique=True)))
    parts = fields(Instance)
    own: dict[str, Any] = {
        "caption": caption,
        "instances": tuple(Instance(**{k: draw(v) for k, v in parts.items()} | {"id": i}) for i in ids),
        "interactions": draw(st.lists(_interaction(Interaction, ids, len(caption)), min_size=1, max_size=2).map(tuple)),
    }
    return model(**{k: draw(v) for k, v in fields(model).items() if k not in own} | own)


@st.composite
def _tracked(draw: st.DrawFn, model: type[Tracked]) -> Tracked:
    ids = draw(st.lists(st.integers(1, 99), min_size=1, max_size=3, unique=True))
    frames = draw(st.integers(0, 4))
    likeness = fields(Track)["likeness"]
    masks = st.lists(st.none() | TEXT, min_size=frames, max_size=frames).map(tuple)
    tracks = tuple(Track(id=f"id{n}", masks=draw(masks), likeness=draw(likeness)) for n in ids)
    return model(**{k: draw(v) for k, v in fields(model).items() if k != "tracks"} | {"tracks": tracks})


@st.composite
def _row(draw: st.DrawFn, model: type[Row[Any]]) -> Row[Any]:
    status = draw(st.sampled_from(Status))
    parts = fields(model)
    payload = next(a for a in get_args(model.model_fields["payload"].annotation) if a is not type(None))
    reason = next(a for a in get_args(model.model_fields["reason"].annotation) if a is not type(None))
    own = {
        "status": status,
        "payload": draw(records(payload)) if status is Status.ACCEPTED else None,
        "reason": draw(st.sampled_from(reason)) if status is Status.REJECTED else None,
    }
    return model(**{k: draw(v) for k, v in parts.items() if k not in own} | own)


_SPECIAL: dict[Any, Any] = {
    Span: lambda _: _spans(2**53 - 1),
    Box: _box,
    Interaction: _interaction,
    Captioned: _with_instances,
    Sample: _with_instances,
    Tracked: _tracked,
    Row: _row,
}
