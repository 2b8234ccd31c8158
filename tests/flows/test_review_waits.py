"""A build that waits for people: it ends as incomplete and says where, and goes on when they have decided."""

import json
import shutil
from pathlib import Path

import pytest

from flows.opened import context_of
from schemas import Sample
from tasks.dataset.reader import stream
from tasks.review.journal import Journal
from tasks.review.patches import Decide, Finish
from tests.flows.building import QUICK, sidecar
from web.queue import Queue
from web.store import Build


@pytest.mark.slow
def test_a_build_waits_for_people_and_goes_on(matrix_data, built, world, tmp_path):
    out = Path(shutil.copytree(built, tmp_path / "out"))
    waiting = ["build", world / "raw", "--captions", sidecar(world), "--out", out, *QUICK, "--json"]
    waiting += ["--set", "review.wait=1", "--set", "review.second_share=0"]
    ended = matrix_data(*waiting, "--set", "review.url=http://reviewers.example/")
    assert ended.code == 3, ended.errors
    clips = ended.json["funnel"]["curate"]["accepted"]
    assert ended.json["funnel"]["review"]["pending"] == clips and ended.json["dataset"] is None
    assert f"{clips} of {clips} clips wait for people (review.wait 1): http://reviewers.example/" in " ".join(
        ended.json["told"]
    )

    build = Build(str(out))
    journal = Journal(build.work)
    queue = Queue(build, journal)
    first = sorted(queue.items)[0]
    for clip in queue.items:
        shown = queue.clip(clip)
        journal.claim(clip, "ann", 60)
        for seen, name in enumerate(shown.masks):
            # Of the first clip everything goes, of the others nothing.
            end = (
                Decide(id=name, decision="drop", reason="drift")
                if clip == first
                else Decide(id=name, decision="accept")
            )
            journal.append(clip, "ann", seen, end, shown.digests, "", 60)
        journal.append(clip, "ann", len(shown.masks), Finish(), shown.digests, "", 60)
    journal.close()
    ended = matrix_data(*waiting)
    assert ended.code == (0 if clips > 1 else 4), ended.errors
    assert ended.json["funnel"]["review"]["rejected"] == {"dropped_in_review": 1}
    samples: list[Sample] = [one.sample for one in stream(context_of(str(out)).dataset)] if clips > 1 else []
    assert {s.clip_id for s in samples} == set(queue.items) - {first}
    assert all({r.by for r in s.review} == {"ann"} for s in samples)
    status = json.loads(matrix_data("status", out, "--json").out.splitlines()[-1])
    assert clips == 1 or f"review: {clips - 1} clips as people accepted them" in status["remarks"]
    assert matrix_data("gc", out, "--json").code == 0 and (out / "work/people/journal.db").exists()
    assert matrix_data("verify", out).code == 0
