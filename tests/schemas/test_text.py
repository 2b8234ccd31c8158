"""What goes to a terminal holds nothing that would move it."""

import html

import pytest
from pydantic import ValidationError

from schemas import Span
from schemas.text import as_markdown, one_line, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain é ☂", "plain é ☂"), ("\x1b[31m", r"\x1b[31m"), ("a\nb", r"a\nb"), ("\udcff", r"\udcff"),
     ("\u202egnp", r"\u202egnp")],
)  # fmt: skip
def test_what_a_terminal_would_obey_is_written_out(text, shown):
    assert visible(text) == shown


def test_an_error_is_one_line():
    with pytest.raises(ValidationError) as found:
        Span.model_validate({"start": 1, "end": 2, "len": 1})
    assert one_line(found.value) == "len: unknown key"
    with pytest.raises(ValidationError) as found:
        Span.model_validate({"start": 3, "end": 2})
    assert not one_line(found.value).startswith("Value error")
    assert (one_line(KeyError()), one_line("")) == ("KeyError", "")


def test_one_line_is_cut():
    assert one_line("a\n b " + "x" * 50, 10) == "a b xxxxx…"


def test_markdown_obeys_nothing_of_it():
    bad = "a|b <img src=x onerror=f()> [x](javascript:f()) **b** ![i](u)\n# c"
    shown = as_markdown(bad)
    assert not set("|<>[]*!\n") & set(shown) and html.unescape(shown) == " ".join(bad.split())
