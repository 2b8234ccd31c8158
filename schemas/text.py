"""Text from outside: what of it may be a caption, and how any of it is shown on a terminal."""

import unicodedata


def visible(text: str) -> str:
    """`text` with what no terminal should be sent (line breaks, escapes, surrogates, reordering) written as `\\xNN`."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def one_line(text: object, limit: int) -> str:
    """`text` as one visible line, cut to `limit` characters."""
    line = visible(" ".join(str(text).split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def caption_problem(text: str, limit: int) -> str | None:
    """Why `text` cannot be a caption; None when it can. Text from outside may try to hide in control characters."""
    for char in text:
        kind = unicodedata.category(char)
        if kind == "Cs":
            return "the caption is not valid UTF-8"
        if (kind == "Cc" and char not in "\t\n\r") or "\u202a" <= char <= "\u202e" or "\u2066" <= char <= "\u2069":
            return f"the caption holds the control character U+{ord(char):04X}"
    if len(text) > limit:
        return f"the caption has {len(text)} characters, more than {limit}"
    return None
