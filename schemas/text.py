"""Text from outside on its way to a terminal: names, captions and messages that may hold anything."""


def visible(text: str) -> str:
    """`text` with what no terminal should be sent (line breaks, escapes, surrogates, reordering) written as `\\xNN`."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def one_line(text: object, limit: int) -> str:
    """`text` as one visible line, cut to `limit` characters."""
    line = visible(" ".join(str(text).split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"
