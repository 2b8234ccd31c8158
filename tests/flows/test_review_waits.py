"""A build that waits for people: it ends as incomplete and says where, and goes on when they have decided."""

import json
import shutil
from pathlib import Path

import pytest

from flows.opened import context_of
from schemas import Sample
from tasks.dataset.reader import stream
from tests.flows.building import QUICK, sidecar
from tests.flows.reviewing import decide_all


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

    _, *others = decide_all(str(out), drop=[0])
    ended = matrix_data(*waiting)
    assert ended.code == (0 if clips > 1 else 4), ended.errors
    assert ended.json["funnel"]["review"]["rejected"] == {"dropped_in_review": 1}
    samples: list[Sample] = [one.sample for one in stream(context_of(str(out)).dataset)] if clips > 1 else []
    assert {s.clip_id for s in samples} == set(others)
    assert all({r.by for r in s.review} == {"ann"} for s in samples)
    status = json.loads(matrix_data("status", out, "--json").out.splitlines()[-1])
    assert clips == 1 or f"review: {clips - 1} clips as people accepted them" in status["remarks"]
    assert matrix_data("gc", out, "--json").code == 0 and (out / "work/people/journal.db").exists()
    assert matrix_data("verify", out).code == 0
