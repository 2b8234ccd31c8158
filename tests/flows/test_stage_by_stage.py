"""With little memory one model is loaded at a time: each stage's is let go of before the next stage begins."""

import pytest

from flows.chunk_flow import _runs
from flows.context import Context
from flows.legs import LEGS
from flows.settings import load_settings
from tasks.engines import registry
from tasks.engines.embedded.detector import EmbeddedDetector
from tasks.engines.registry import EngineEntry

told: list[str] = []


class Heavy(EmbeddedDetector):
    """A detector that is told to load and to let go."""

    def check(self) -> str:
        told.append("loaded")
        return "fine"

    def release(self) -> None:
        told.append("released")


HEAVY = EngineEntry("tasks.engines.embedded.options:DetectorOptions", f"{__name__}:Heavy")
CLIP_STAGES = next([s.name for s in leg if s.batch] for leg in LEGS if any(s.name == "caption" for s in leg))


@pytest.fixture
def opened(tmp_path, monkeypatch):
    monkeypatch.setitem(registry.ENGINES["detector"], "heavy", HEAVY)
    told.clear()

    def open_with(*sets: str) -> Context:
        sets = ("engines.detector.name=heavy", *sets)
        return Context(load_settings("local", list(sets), source=str(tmp_path / "raw"), out=str(tmp_path / "out")))

    return open_with


def test_all_engines_are_tried_before_the_first_clip_but_none_is_kept(opened):
    opened().make_ready(["caption", "propose"], lambda _: False)
    assert told == ["loaded"]
    opened("run.stage_by_stage=true").make_ready(["caption", "propose"], lambda _: False)
    assert told == ["loaded", "loaded", "released"]


def test_engines_without_weights_have_nothing_to_let_go_of(opened):
    opened("run.stage_by_stage=true").release("verify")
    assert told == []


def test_stages_go_by_themselves_where_they_are_asked_to():
    together, apart = (_runs(CLIP_STAGES, each) for each in (False, True))
    assert apart == [[stage] for stage in CLIP_STAGES]
    assert len(together) < len(apart) and [s for run in together for s in run] == CLIP_STAGES


def test_how_the_stages_go_is_no_part_of_what_they_say(opened):
    assert opened().fingerprints == opened("run.stage_by_stage=true").fingerprints
