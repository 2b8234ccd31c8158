"""Settings as text: a YAML mapping, `--set a.b=c` on top of it, and a pydantic model that names what is wrong.

Shared by `matrix_data` and `matrix_train`, whose settings differ and whose command lines must not. Every error is a
ValueError in one line for the user.
"""

import re
from difflib import get_close_matches
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError


class Settings(BaseModel):
    """Frozen; an unknown key is an error. Fields have a default where there is a sensible one, and a `description`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    not_in_rows: ClassVar[frozenset[str]] = frozenset()
    """Fields that change how fast rows are made and never what they say: they stay out of the fingerprint."""


Model = TypeVar("Model", bound=BaseModel)


def parse_mapping(text: str, what: str) -> dict[str, Any]:
    """A YAML mapping; `what` names the file in errors."""
    try:
        data = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{what}: not valid YAML: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise ValueError(f"{what}: nested too deeply for settings") from None
    if not isinstance(data, dict):
        raise ValueError(f"{what}: must be a mapping of settings")
    return data


def name_of(override: str) -> str:
    """What an `a.b=c` sets, for messages."""
    return re.split(r"[^\w.-]", override, maxsplit=1)[0][:200]


def override(data: dict[str, Any], text: str) -> None:
    """Puts one `a.b=c` into the mapping; c is YAML. Errors name the key alone: the value may be a secret."""
    key, equals, written = text.partition("=")
    shown = name_of(text)
    if not equals or not all(key.split(".")):
        raise ValueError(f"--set {shown!r}: write it as section.name=value")
    try:
        value = yaml.safe_load(written)
    except (yaml.YAMLError, RecursionError):
        raise ValueError(f"--set {shown!r}: the value is not valid YAML") from None
    node = data
    *sections, name = key.split(".")
    for section in sections:
        below = node.setdefault(section, {})
        if not isinstance(below, dict):
            raise ValueError(f"--set {shown!r}: {section!r} is not a section")
        node = below
    node[name] = value


def validate(model: type[Model], data: dict[str, Any]) -> Model:
    """The model; the error names the first problem's key, what was wrong, and how many more there are."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"]) + ": " if first["loc"] else ""
        what = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            what = "unknown setting" + _meant(model, tuple(map(str, first["loc"])))
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise ValueError(f"settings: {where}{what}{more}") from None


def _meant(model: type[BaseModel], where: tuple[str, ...]) -> str:
    """The setting of the same section that an unknown one looks like, as a question; empty where none does."""
    *sections, name = where
    for section in sections:
        field = model.model_fields.get(section)
        if field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, BaseModel):
            return ""  # below a union or a mapping: which model was meant is not known
        model = field.annotation
    like = get_close_matches(name, model.model_fields, n=1)
    return f": did you mean {'.'.join((*sections, *like))}?" if like else ""
