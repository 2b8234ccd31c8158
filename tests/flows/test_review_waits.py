"""A build that waits for people: it ends as incomplete and says where, and goes on when they have decided; the run of
a deployment by itself, as the review server sees to it."""

import json
import shutil
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import deployed
from flows.cli.people import _go_on
from flows.opened import context_of
from schemas import Sample
from tasks.dataset.reader import stream
from tasks.review.journal import Journal
from tests.flows.building import QUICK, sidecar
from tests.flows.reviewing import decide_all
from web.queue import Queue
from web.store import Build
from web.waiting import Watch


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


@pytest.mark.slow
def test_a_run_of_a_deployment_goes_on_by_itself(built, server, world, tmp_path):
    """Without a worker: what one does with a run is done here. test_prefect.py has one, and a browser."""
    out = str(shutil.copytree(built, tmp_path / "out"))
    given = {"source": str(world / "raw"), "captions": str(sidecar(world)), "out": out}
    changes = [*QUICK[1::2], "review.wait=1", "review.second_share=0"]
    with temporary_settings({PREFECT_API_URL: server["PREFECT_API_URL"]}), get_client(sync_client=True) as client:
        deployment = client.create_deployment(client.create_flow(deployed.build), "waits")
        run = client.create_flow_run_from_deployment(deployment, parameters={**given, "changes": changes})
        with pytest.raises(Pause):
            run_flow(deployed.build, flow_run=client.read_flow_run(run.id))
        build = Build(out)
        journal = Journal(build.work)
        watch = Watch(Queue(build, journal), _go_on)
        watch.look()
        assert watch.told.startswith("a build waits for people: 0 clips are decided on")
        clips = decide_all(out)
        watch.look()
        resumed = client.read_flow_run(run.id)
        assert watch.told == f"enough is decided: flow run {resumed.name} goes on"
        assert resumed.state.name == "Resuming", "for the next worker"
        assert run_flow(deployed.build, flow_run=resumed, return_type="state").is_completed()
        watch.look()
        assert watch.told == ""
        journal.close()
    samples: list[Sample] = [one.sample for one in stream(context_of(out).dataset)]
    assert {s.clip_id for s in samples} == set(clips) and {r.by for s in samples for r in s.review} == {"ann"}
