"""The record of decisions: whole or absent, claimed by one, in order; over SQLite, and over a PostgreSQL."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest

from benchmarks.setting import processes, production
from flows.settings import load_settings
from tasks.errors import InfrastructureError, UserError
from tasks.review.journal import ConflictError, Journal, begun
from tasks.review.patches import Decide
from tasks.review.stage import ReviewSettings
from tasks.store.folder import Folder

CLIP = "a" * 16
YES = Decide(id="id1", decision="accept")


@pytest.fixture
def clock():
    return [1000.0]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The URL of a PostgreSQL, whose process is the newest of `processes.running`."""
    try:
        with production.postgres(tmp_path_factory.mktemp("postgres")) as url:
            yield url.replace("+asyncpg", "")
    except production.Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.production)])
def url(request):
    """None for SQLite; else the URL of a PostgreSQL without tables."""
    if request.param == "sqlite":
        return None
    found = request.getfixturevalue("server")

    async def empty() -> None:
        connection = await asyncpg.connect(found)
        await connection.execute("drop table if exists patches, claims, users")
        await connection.close()

    asyncio.run(empty())
    return found


@pytest.fixture
def journal(tmp_path, clock, url):
    made = Journal(Folder(str(tmp_path)), url, now=lambda: clock[0])
    yield made
    made.close()


def test_nothing_is_on_record_at_first(journal):
    assert (journal.clips(), journal.state(CLIP), journal.users(), journal.trail()) == ([], "", [], [])


def test_looking_makes_no_file(tmp_path):
    with begun(Folder(str(tmp_path)), None) as journal:
        assert journal is None
    assert not list(tmp_path.iterdir())


def test_one_holds_a_clip_until_the_time_is_out(journal, clock):
    journal.claim(CLIP, "ann", 60)
    with pytest.raises(ConflictError, match="ann is at this clip"):
        journal.claim(CLIP, "bob", 60)
    with pytest.raises(ConflictError, match="ann is at this clip"):
        journal.append(CLIP, "bob", 0, YES, {}, "", 60)
    clock[0] += 50
    journal.append(CLIP, "ann", 0, YES, {}, "", 60)
    clock[0] += 50
    assert journal.claims() == {CLIP: "ann"}, "who works holds on"
    clock[0] += 11
    with pytest.raises(ConflictError, match="run out"):
        journal.append(CLIP, "ann", 1, YES, {}, "", 60)
    journal.claim(CLIP, "bob", 60)
    journal.release(CLIP, "ann")
    assert journal.claims() == {CLIP: "bob"}


def test_a_patch_that_has_not_seen_the_last_one_is_refused(journal):
    journal.claim(CLIP, "ann", 60)
    assert journal.append(CLIP, "ann", 0, YES, {"id1": "x"}, "", 60).seq == 1
    with pytest.raises(ConflictError, match="another window"):
        journal.append(CLIP, "ann", 0, YES, {}, "", 60)
    (patch,) = journal.patches(CLIP)["ann"]
    assert (patch.op, patch.tracks, patch.at) == (YES, {"id1": "x"}, 1000.0)


def test_of_twenty_five_at_once_none_is_lost(journal):
    """More than there are connections to a PostgreSQL (`Server`)."""

    def work(who: int) -> None:
        for n in range(5):
            clip = f"{who * 10 + n:016x}"
            journal.claim(clip, f"u{who}", 60)
            journal.append(clip, f"u{who}", 0, YES, {}, "", 60)

    with ThreadPoolExecutor(25) as people:
        list(people.map(work, range(25)))
    assert len(journal.clips()) == 125 == len(journal.times())


def test_of_twenty_windows_on_one_clip_each_patch_follows_the_last(journal):
    """All write as one person under one claim: a patch is refused, or it has the next number, and none is lost."""
    journal.claim(CLIP, "ann", 60)
    start, refused = threading.Barrier(20), []

    def work(window: int) -> None:
        start.wait()
        for _ in range(200):
            seen = len(journal.patches(CLIP).get("ann", ()))
            try:
                journal.append(CLIP, "ann", seen, YES, {}, str(window), 60)
                return
            except ConflictError:
                refused.append(window)

    with ThreadPoolExecutor(20) as windows:
        list(windows.map(work, range(20)))
    patches = journal.patches(CLIP)["ann"]
    assert [patch.seq for patch in patches] == list(range(1, 21))
    assert sorted(int(patch.was) for patch in patches) == list(range(20))


def test_of_twenty_who_claim_one_clip_one_has_it(journal):
    def work(who: int) -> bool:
        try:
            journal.claim(CLIP, f"u{who}", 60)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(20) as people:
        assert sum(people.map(work, range(20))) == 1


@pytest.mark.production
def test_a_server_that_dies_is_told_in_one_line_and_found_again(server, tmp_path):
    journal = Journal(Folder(str(tmp_path)), server)
    journal.claim(CLIP, "ann", 60)
    journal.append(CLIP, "ann", len(journal.trail(CLIP)), YES, {}, "", 60)
    stored = len(journal.trail(CLIP))
    process = next(one for one in reversed(processes.running) if one.name == "PostgreSQL")
    process.kill()
    for call in (journal.clips, lambda: journal.append(CLIP, "ann", stored, YES, {}, "", 60)):
        with pytest.raises(InfrastructureError, match="journal at postgresql://") as told:
            call()
        assert "\n" not in str(told.value)
    process.again()
    assert journal.append(CLIP, "ann", stored, YES, {}, "", 60).seq == stored + 1
    journal.close()


def test_nobody_listens_there(tmp_path):
    journal = Journal(Folder(str(tmp_path)), f"postgresql://ann@127.0.0.1:{processes.free_port()}/people")
    with pytest.raises(InfrastructureError, match="does not answer as it should"):
        journal.clips()
    journal.close()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:hunter2@host/people",
        "postgresql://host/people?password=hunter2",
        "postgresql://ann%3Ahunter2@host/people",
        "hunter2",
    ],
)
def test_a_url_with_a_password_is_refused_and_not_repeated(url):
    with pytest.raises(UserError, match="PGPASSWORD") as told:
        ReviewSettings(journal=url)
    assert "hunter2" not in str(told.value) and "\n" not in str(told.value)
    with pytest.raises(UserError, match="PGPASSWORD"):
        load_settings("local", [f"review.journal={url}"], source="raw", out="out")


def test_a_token_is_on_record_as_a_hash_only(journal, tmp_path, url):
    token = journal.invite("ann", "reviewer")
    assert journal.user_of(token).name == "ann" and journal.user_of(token[:-1]) is None
    if url is None:
        assert token.encode() not in (tmp_path / "people" / "journal.db").read_bytes()
    assert journal.invite("ann", "admin") != token and journal.user_of(token) is None
    assert journal.user_of(journal.invite("ann")).role == "admin", "a new token alone"
    journal.dismiss("ann")
    assert journal.users() == []


def test_a_bucket_is_refused():
    with pytest.raises(UserError, match="set review"):
        Journal(Folder("memory://bucket/work"))
