"""Text from outside: what of it may be a caption, and how any of it is shown on a terminal."""

import re
import unicodedata

from pydantic import ValidationError


def visible(text: str) -> str:
    """`text` with what no terminal should be sent (line breaks, escapes, surrogates, reordering) written as `\\xNN`."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def one_line(told: object, limit: int = 300) -> str:
    """A text or an error as one visible line, cut to `limit` characters: of a validation the first thing found, of an
    error that says nothing its kind."""
    text = first_problem(told) if isinstance(told, ValidationError) else str(told)
    line = visible(" ".join(text.split()))
    if not line and isinstance(told, BaseException):
        line = type(told).__name__
    return line if len(line) <= limit else line[: limit - 1] + "…"


def as_markdown(text: object) -> str:
    """`text` on one line of which Markdown and HTML obey nothing but marks of code."""
    return re.sub(r"[|\[\]<>*\\!]", lambda found: f"&#{ord(found[0])};", visible(" ".join(str(text).split())))


def first_problem(error: ValidationError) -> str:
    """The first thing that a validation found, and where."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    said = "unknown key" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
    return f"{where}: {said}" if where else said


def text_problem(text: str) -> str | None:
    """What no text from outside may hold, as "holds …"; None where it is plain. Such text may try to hide."""
    for char in text:
        kind = unicodedata.category(char)
        if kind == "Cs":
            return "is not valid UTF-8"
        if (kind == "Cc" and char not in "\t\n\r") or "\u202a" <= char <= "\u202e" or "\u2066" <= char <= "\u2069":
            return f"holds the control character U+{ord(char):04X}"
    return None


def caption_problem(text: str, limit: int) -> str | None:
    """Why `text` cannot be a caption; None when it can."""
    problem = text_problem(text)
    if problem is None and len(text) > limit:
        problem = f"has {len(text)} characters, more than {limit}"
    return f"the caption {problem}" if problem else None
