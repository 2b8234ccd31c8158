"""People's decisions in a PostgreSQL: a build in several chunks waits for them and takes them, the late ones too."""

import asyncio
import os
import shutil

import asyncpg
import pytest

from flows.opened import context_of
from schemas.labels import read_labels
from schemas.review import REVIEW_FILE
from tasks.dataset.reader import stream
from tasks.review.journal import JOURNAL_FILE
from tests.flows.reviewing import decide_all, review_page
from tests.production.pooling import Place, ended
from tests.web.browser import CHROMIUM, Tab, chromium

pytestmark = [
    pytest.mark.production, pytest.mark.long, pytest.mark.timeout(1200),
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]  # fmt: skip


@pytest.fixture
def journal(database) -> str:
    """The URL of an empty database beside Prefect's."""
    server = database.replace("+asyncpg", "")

    async def made() -> None:
        connection = await asyncpg.connect(server)
        await connection.execute("create database people")
        await connection.close()

    asyncio.run(made())
    return f"{server.rpartition('/')[0]}/people"


def test_a_build_waits_for_decisions_in_postgres_and_is_the_one_that_sqlite_makes(journal, world, tmp_path):
    place = Place(str(world / "raw"), str(world / "captions.csv"), str(tmp_path), os.environ)
    build = place.build("out", "--set", "review.wait=1", "--set", "review.second_share=0")
    build += ["--set", f"review.journal={journal}"]
    out = tmp_path / "out"
    waiting = ended(place.env, *build)
    assert waiting.returncode == 3 and "clips wait for people" in waiting.stdout, waiting.stderr
    shutil.copytree(out, tmp_path / "lite")

    with review_page(str(out), place.env) as (url, token), chromium() as browser:
        root = Tab(browser, url)
        root.log_in(token)
        clips = root.page.locator("tbody code").all_inner_texts()
        assert len(context_of(str(out)).store("curate").chunks) > 1, "chunks wait apart"
        root.open("/next")
        for _ in clips:
            root.press("q")
            root.decided()
            root.finish()
        assert ended(place.env, *build).returncode == 0
        dataset = context_of(str(out)).dataset
        samples = [one.sample for one in stream(dataset)]
        assert {s.clip_id for s in samples} == set(clips) and {r.by for s in samples for r in s.review} == {"admin"}
        assert not list(out.rglob(JOURNAL_FILE)), "it lies in the database alone"
        before = place.dataset("out")

        root.open(f"/clip/{clips[0]}")
        for number in range(1, 1 + root.page.locator(".said").count()):
            root.drop(number)
        root.finish()
        assert root.problems == []
    assert ended(place.env, *build).returncode == 0
    assert read_labels(dataset.read).dropped == {clips[0]}
    assert without_times(place.dataset("out")) == without_times(before), "no shard is rewritten"
    assert ended(place.env, "verify", out).returncode == 0

    decide_all(str(tmp_path / "lite"), who="admin")
    lite = place.build("lite", "--set", "review.wait=1", "--set", "review.second_share=0")
    assert ended(place.env, *lite).returncode == 0
    assert without_times(place.dataset("lite")) == without_times(before)


def without_times(dataset: dict[str, bytes]) -> dict[str, bytes]:
    """All files of a dataset but the labels, which say when each was given."""
    return {name: data for name, data in dataset.items() if not name.endswith(REVIEW_FILE)}
