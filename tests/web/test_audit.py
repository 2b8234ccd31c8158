"""The audit: a seeded draw, figures that are right on average, and questions over HTTP."""

import json
import random
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from schemas.dataset import CARD_FILE
from tasks.dataset.check import verify
from tasks.dataset.reader import read_dataset
from tasks.errors import UserError
from tasks.review.audit import FIGURES, KINDS, Audit, Question, accuracy, draw
from tasks.shard.card import card, read_audit
from tasks.store.folder import Folder
from tests.builders import make_dataset
from tests.web.places import Place
from web.audit import create_app
from web.store import Build

DOUBTS = {f"{n:016x}": n / 300 for n in range(300)}


def test_every_stratum_is_drawn_from_alike_and_the_same_again():
    drawn, strata = draw(DOUBTS, 30, seed=1)
    assert strata == (100, 100, 100) and [k for _, k in drawn].count(2) == 10
    assert draw(DOUBTS, 30, seed=1)[0] == drawn != draw(DOUBTS, 30, seed=2)[0]
    assert len(draw(DOUBTS, 1000, seed=1)[0]) == 300 == len({clip for clip, _ in draw(DOUBTS, 1000, seed=1)[0]})
    assert draw({}, 5, seed=1)[0] == []


def audit_of(counts: tuple[int, ...], strata: tuple[int, ...]) -> Audit:
    made = [
        Question(number=n, kind="object", clip="0" * 16, stratum=k, ids=("id1",), text="?", frame=0)
        for n, k in enumerate(k for k, count in enumerate(counts) for _ in range(count))
    ]
    return Audit(seed=0, fingerprint="f", strata=strata, questions=tuple(made))


def test_figures_are_weighted_back_and_the_interval_holds_the_truth_about_as_often_as_it_says():
    """Of 900 clips 600 are right by 95 %, 200 by 80 %, 100 by 50 %: of all .8667."""
    audit, rates = audit_of((40, 40, 40), (600, 200, 100)), (0.95, 0.8, 0.5)
    truth = (600 * 0.95 + 200 * 0.8 + 100 * 0.5) / 900
    chance, held, values = random.Random(0), 0, []
    for _ in range(400):
        found = accuracy(audit, {q.number: chance.random() < rates[q.stratum] for q in audit.questions}, "object")
        held += found.low <= truth <= found.high
        values.append(found.value)
    assert sum(values) / 400 == pytest.approx(truth, abs=0.01) and 0.92 <= held / 400 <= 0.99


def test_all_right_and_nothing_said():
    audit = audit_of((10, 0, 0), (10, 10, 10))
    whole = accuracy(audit, dict.fromkeys(range(10), True), "object")
    assert whole.value == 1.0 and 0.6 < whole.low < 0.85 and whole.high == pytest.approx(1.0)
    assert accuracy(audit, {}, "object").value is None and accuracy(audit, {0: True}, "track").n == 0


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path, clips=3, frames=5)
    yield made
    made.journal.close()


def opened(place, folder, **how):
    client = TestClient(create_app(Build(place.out), folder, how.get("sample", 2), how.get("seed", 0), ("testserver",)))
    client.headers["x-csrf"] = client.get("/").text.split('name="csrf" content="')[1].split('"')[0]
    return client


def test_questions_are_answered_one_by_one_and_found_again(place, tmp_path):
    client = opened(place, tmp_path / "a")
    found = client.get("/api/next").json()
    assert (found["done"], found["of"]) == (0, 8)
    kinds = []
    while question := found["question"]:
        kinds.append(question["kind"])
        seen = client.get(f"/api/clip/{question['clip']}").json()
        assert {t["id"] for t in seen["tracks"]} >= set(question["ids"])
        found = client.post(
            "/api/answer", json={"number": question["number"], "yes": question["kind"] != "track"}
        ).json()
    assert kinds == [*KINDS] * 2
    assert (
        "| object | 2 | 100.0% |" in found["table"]
        and "93.8%" in found["table"]
        and "| track | 2 | 0.0% |" in found["table"]
    )
    assert (tmp_path / "a" / "audit.md").read_text() == found["table"]
    with (tmp_path / "a" / "answers.jsonl").open("a") as stream:
        stream.write("[3, tr")  # a process that was killed
    again = opened(place, tmp_path / "a", seed=9)
    assert again.get("/api/next").json()["done"] == 8, "what was drawn and said stays"
    changed = again.post("/api/answer", json={"number": 0, "yes": False}).json()
    assert changed["done"] == 8 and "| object | 2 | 50.0% |" in changed["table"], "the later answer holds"


def test_figures_go_on_the_cards_by_themselves(place, tmp_path):
    dataset = make_dataset(
        Path(place.out), list(place.cases.values()), dest=Build(place.out).dataset.uri.removeprefix(f"{place.out}/")
    )
    assert "Nobody has audited" in dataset.read(CARD_FILE).decode()
    client = opened(place, tmp_path / "a")
    for number in range(8):
        client.post("/api/answer", json={"number": number, "yes": number != 0})
    figures = read_audit(dataset)
    assert figures == read_audit(Folder(str(tmp_path / "a")), FIGURES)
    assert figures["kinds"]["object"]["right"] == 1 and figures["kinds"]["relation"]["share"] == 1.0
    shown = dataset.read(CARD_FILE).decode()
    assert "| object | 1 of 2 | 50.0% |" in shown and "93.8%" in shown
    assert shown.encode() == card(read_dataset(dataset), figures), "so that the next build leaves it as it is"
    assert verify(dataset) == []


def test_what_is_refused(place, tmp_path):
    client = opened(place, tmp_path / "a")
    assert client.post("/api/answer", json={"number": 0, "yes": True}, headers={"x-csrf": "no"}).status_code == 403
    assert client.post("/api/answer", json={"number": 99, "yes": True}).status_code == 404
    assert client.get(f"/api/clip/{'0' * 16}").status_code == 404
    drawn = json.loads((tmp_path / "a" / "audit.json").read_text())
    (tmp_path / "a" / "audit.json").write_text(json.dumps(drawn | {"fingerprint": "other"}))
    with pytest.raises(UserError, match="another build"):
        opened(place, tmp_path / "a")
