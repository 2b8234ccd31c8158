"""Text from outside: what of it may be a caption, and how any of it is shown on a terminal."""

import re

_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control and direction characters, and surrogates, which stand for what is no text."""


def visible(text: str) -> str:
    """`text` with what no terminal should be sent (line breaks, escapes, surrogates, reordering) written as `\\xNN`."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def one_line(text: object, limit: int) -> str:
    """`text` as one visible line, cut to `limit` characters."""
    line = visible(" ".join(str(text).split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def caption_problem(text: str, limit: int) -> str | None:
    """Why `text` cannot be a caption; None when it can. Text from outside may try to hide in control characters."""
    found = _UNFIT.search(text)
    if found and "\ud800" <= found[0] <= "\udfff":
        return "the caption is not valid UTF-8"
    if found:
        return f"the caption holds the control character U+{ord(found[0]):04X}"
    if len(text) > limit:
        return f"the caption has {len(text)} characters, more than {limit}"
    return None
