"""What a stage's fingerprint hangs on, and what a change of one engine costs."""

from collections import Counter

import pytest

from benchmarks.setting.rows import fill, key_of
from flows.batches import run_batch
from flows.chunk import Chunk
from flows.context import Context
from flows.legs import RECORDED, SPECS
from flows.settings import BuildSettings, load_settings
from tasks.engines.registry import EngineSpec
from tasks.stages import STAGES

KINDS = [(spec.name, kind) for spec in STAGES for kind in spec.engines]


def settings_with(out, **engines: EngineSpec) -> BuildSettings:
    plain = BuildSettings(source="raw", out=str(out))
    return plain.model_copy(update={"engines": plain.engines.model_copy(update=engines)})


def changed(before: Context, after: Context) -> list[str]:
    return [stage for stage, value in after.fingerprints.items() if value != before.fingerprints[stage]]


@pytest.mark.parametrize(("stage", "kind"), KINDS)
def test_another_engine_begins_its_stage_and_all_after_it_anew_and_none_before(tmp_path, stage, kind):
    gpu = load_settings("gpu", [], source="raw", out="out").engines
    before = Context(settings_with(tmp_path))
    after = Context(settings_with(tmp_path, **{kind: getattr(gpu, kind)}))
    names = list(before.fingerprints)
    assert changed(before, after) == names[names.index(stage) :]


def test_a_version_and_the_text_of_the_prompts_count(tmp_path, monkeypatch):
    before = Context(settings_with(tmp_path))
    monkeypatch.setattr("tasks.caption.stage.prompts_version", lambda folder: f"{folder}-another text")
    names = list(before.fingerprints)
    assert changed(before, Context(settings_with(tmp_path))) == names[names.index("caption") :]


def test_how_work_is_cut_up_and_which_files_come_in_do_not(tmp_path):
    plain = load_settings("local", [], source="raw", out=str(tmp_path))
    sets = ["run.batch=9", "scan.extensions=[.mp4]", "select.max_videos_per_caption=9", "ingest.timeout_s=9"]
    other = load_settings("local", sets, source="elsewhere", captions="c.csv", out=str(tmp_path))
    assert Context(plain).fingerprints == Context(other).fingerprints


class Counted(Context):
    """A build that counts how often each kind of engine is asked for."""

    def __init__(self, settings: BuildSettings) -> None:
        super().__init__(settings)
        self.asked = Counter[str]()

    def engine(self, kind):
        self.asked[kind] += 1
        return super().engine(kind)


def test_a_change_of_verifier_asks_no_detector_again(tmp_path, monkeypatch):
    """Over the same rows: what is ahead is verify and what follows, and none of it loads the detector."""
    clips = sorted(key_of("clip", n) for n in range(4))
    first = Counted(settings_with(tmp_path))
    fill(first, 4)
    assert first.survey().ahead(RECORDED) == ["review", "shard"]
    gpu = load_settings("gpu", [], source="raw", out="out").engines
    second = Counted(settings_with(tmp_path, verifier=gpu.verifier))
    ahead = second.survey().ahead(RECORDED)
    assert ahead == ["verify", "track", "curate", "review", "shard"]
    assert second.store("propose").accepted() == clips
    for stage in ahead:
        for kind in SPECS[stage].engines:
            second.engine(kind)
    assert set(second.asked) == {"verifier", "tracker"}
    chunk = Chunk(second, "00000")
    monkeypatch.setattr(chunk, "frames", lambda case: None)
    monkeypatch.setattr(chunk, "process", lambda stage, keys: pytest.fail("verify is the first to be run"))
    assert run_batch(chunk, "propose", clips) == clips, "what is on record is not done again"


def test_a_stage_is_given_no_engine_that_it_does_not_declare(tmp_path):
    work = Context(settings_with(tmp_path)).at_work("curate")
    with pytest.raises(ValueError, match="declare"):
        work.engine("tracker")


def test_every_stage_with_rows_has_a_fingerprint(tmp_path):
    assert set(RECORDED) <= set(Context(settings_with(tmp_path)).fingerprints)
