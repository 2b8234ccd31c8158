"""`matrix_data review` and `explore` from the command line: accounts, and what is refused in one line."""

import json

import pytest
from typer.testing import CliRunner

from flows.cli import app
from tasks.errors import UserError
from tests.web.places import Place
from web.serve import is_loopback, names_of


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path, clips=1, frames=5)
    yield made
    made.journal.close()


def run(*words: str):
    """The last line as JSON; what the command raises goes on."""
    ended = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    return json.loads(ended.output.splitlines()[-1])


def test_people_are_invited_and_dismissed(place):
    told = run("review", place.out, "--invite", "ann", "--role", "reader")
    assert place.journal.user_of(told["token"]).role == "reader"
    run("review", place.out, "--dismiss", "ann")
    assert place.journal.user_of(told["token"]) is None


def test_a_new_token_leaves_the_role_as_it_is(place):
    for role, more in (("admin", ["--role", "admin"]), ("admin", []), ("reader", ["--role", "reader"])):
        told = run("review", place.out, "--invite", "ann", *more)
        assert told["role"] == role and place.journal.user_of(told["token"]).role == role
    told = run("review", place.out, "--invite", "bob")
    assert told["role"] == "reviewer" and place.journal.user_of(told["token"]).role == "reviewer"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--invite", "ann<b>"), "letters, digits"),
        (("--invite", "ann", "--role", "king"), "reader, reviewer or admin"),
        (("--order", "random"), "doubt or name"),
        (("--proxy", "everybody"), "an address as 127"),
    ],
)
def test_what_is_no_name_role_or_order(place, words, says):
    with pytest.raises(UserError, match=says):
        run("review", place.out, *words)


def test_what_is_no_build_or_dataset(tmp_path):
    with pytest.raises(UserError, match="no build in"):
        run("review", str(tmp_path))
    with pytest.raises(UserError, match=r"no dataset\.json"):
        run("explore", str(tmp_path))
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "build.json").write_text('{"schema": 1}')
    with pytest.raises(UserError, match=r"damaged|another version"):
        run("review", str(tmp_path))


@pytest.mark.parametrize("words", [("review",), ("audit", "--out", "a")])
def test_a_bucket_is_told_to_be_copied_and_nobody_asks_it(words):
    with pytest.raises(UserError, match=r"s3://bucket/out: .* copy the folder here, and review and build on"):
        run(words[0], "s3://bucket/out", *words[1:])


def test_loopback_is_known_by_all_its_names():
    assert [is_loopback(h) for h in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "example.org")] == [True] * 3 + [
        False
    ] * 2
    assert names_of("127.0.0.1", ("review.example",)) == ("127.0.0.1", "localhost", "[::1]", "review.example")
