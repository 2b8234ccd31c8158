"""A build as seen from its settings and its store alone: no server, no engine, no video."""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from benchmarks.setting.rows import clip_of, fill, key_of, payload_of, put, source_of
from flows.build import Run
from flows.chunk import Chunk
from flows.chunk_flow import recut
from flows.cli.preflight import preflight
from flows.context import Context
from flows.legs import CUTTER, LEGS, SPECS
from flows.opened import BUILD_FILE, context_of, join_build, name_of, open_build
from flows.settings import BuildSettings
from flows.tally import Tally, as_table
from schemas import SCHEMA_VERSION, Captioned, Curated, Proposed, Reason, Row, Status, Verified
from tasks.errors import InfrastructureError, UserError
from tasks.outcome import Case
from tasks.scan.cutting import cut_listing
from tasks.scan.listing import list_files


@pytest.fixture
def settings(tmp_path) -> BuildSettings:
    (tmp_path / "raw").mkdir()
    return BuildSettings(source=str(tmp_path / "raw"), out=str(tmp_path / "out"))


def clip_ids(count: int) -> list[str]:
    return [key_of("clip", n) for n in range(count)]


# the order of the stages


def test_stages_that_see_everything_run_alone_and_the_others_together():
    assert [[spec.name for spec in leg] for leg in LEGS] == [
        ["scan"],
        ["select"],
        ["ingest"],
        ["dedupe"],
        ["caption", "propose", "verify", "track", "curate", "review", "shard"],
        ["report"],
    ]
    assert CUTTER == {"videos": "select", "clips": "dedupe"}


# the funnel


def test_a_line_of_the_funnel_adds_up_or_is_an_error():
    with pytest.raises(ValidationError, match="10 in, but 7 done and 2 pending"):
        Tally(stage="scan", arrived=10, accepted=6, rejected={"unreadable": 1}, pending=2, seconds=0.0)


def test_the_rate_is_of_what_is_done():
    done = Tally(stage="scan", arrived=10, accepted=6, rejected={"unreadable": 1}, pending=3, seconds=0.126)
    (line, idle) = as_table([done, Tally.waiting("select", 0)])
    assert (line["in"], line["pending"], line["seconds"], line["per_second"]) == (10, 3, 0.13, 55.56)
    assert idle["per_second"] is None


def test_looking_at_a_build_does_not_list_its_bucket(settings, tmp_path):
    context = Context(settings)
    fill(context, 3, stages=("caption", "propose"))
    (tmp_path / "raw" / "new.mp4").write_bytes(b"x")
    shutil.move(settings.source, tmp_path / "away")
    assert [(line.stage, line.arrived, line.pending) for line in context.funnel()] == [
        ("scan", 3, 0), ("select", 3, 0), ("ingest", 3, 0), ("dedupe", 3, 0), ("caption", 3, 0), ("propose", 3, 0),
        ("verify", 3, 3), ("track", 0, 0), ("curate", 0, 0), ("review", 0, 0),
        ("shard", 0, 0),
    ]  # fmt: skip


def test_the_source_is_listed_once_a_build_and_by_no_worker(settings, tmp_path, monkeypatch):
    """What goes before a build looks at the first file alone."""
    taken = []

    def counted(*given):
        taken.append(0)
        for found in list_files(*given):
            taken[-1] += 1
            yield found

    monkeypatch.setattr("flows.context.list_files", counted)
    for number in range(5):
        (tmp_path / "raw" / f"{number}.mp4").write_bytes(b"x")
    preflight(settings)
    assert taken == [1]
    Run(open_build(settings)).list_source()
    worker = join_build(settings)
    for name in worker.survey().pending("scan"):
        chunk = Chunk(worker, name)
        assert len(list(chunk.process("scan", chunk.pending("scan")))) == 5
    worker.funnel()
    assert taken == [1, 5]


def test_any_parquet_reader_finds_the_rows_of_a_stage_by_the_globs_of_the_docs(settings):
    """Over several chunks and stages, rejected rows among them."""
    context = Context(settings.model_copy(update={"run": settings.run.model_copy(update={"chunk": 2})}))
    fill(context, 5)
    gone = Row[Any](key="f" * 16, status=Status.REJECTED, reason=next(iter(SPECS["caption"].rejects)))
    put(context, "caption", [gone], "00001")
    globs = re.findall(r"[\"']out/(\S+\.parquet)", (Path(__file__).parents[2] / "docs/store.md").read_text())
    stages = [glob.split("/")[1] for glob in globs]
    assert stages == ["caption", "curate"]
    for glob, stage in zip(globs, stages, strict=True):
        rows = pq.read_table(sorted(Path(settings.out).glob(glob))).to_pylist()
        assert {row["key"] for row in rows} == context.store(stage).keys() and len(rows) == 5 + (stage == "caption")
        told = [(row["status"], row["reason"], (row["payload"] or {}).get("caption")) for row in rows]
        if stage == "caption":
            assert told.count(("rejected", gone.reason, None)) == 1
            assert sum(status == "accepted" and bool(caption) for status, _, caption in told) == 5


def test_a_file_that_is_gone_stays_on_record_and_new_ones_get_a_chunk_of_their_own(settings, tmp_path):
    context = Context(settings)
    fill(context, 3, stages=())
    (tmp_path / "raw" / "new.mp4").write_bytes(b"x")
    assert cut_listing(context.list_source(), context.folder.below(context.place("scan")), 9) == 1
    survey = context.survey()
    line = survey.tally("scan")
    assert (line.arrived, line.accepted, line.pending) == (4, 3, 1), "files on record count though they are gone"
    assert survey.pending("scan") == ["00001"]


def test_rows_under_keys_of_their_own_are_counted_only_where_a_stage_says_it_has_such(settings):
    context = Context(settings)
    fill(context, 2, stages=())
    orphan = Row[Any](key="f" * 16, status=Status.REJECTED, reason=Reason.NO_VIDEO)
    put(context, "select", [orphan], "00001")
    put(context, "caption", [orphan.model_copy(update={"reason": next(iter(SPECS["caption"].rejects))})])
    survey = context.survey()
    assert (survey.tally("select").arrived, survey.tally("select").rejected) == (3, {"no_video": 1})
    assert (survey.tally("caption").arrived, survey.tally("caption").rejected) == (2, {})


def test_a_reason_means_what_its_stage_says(settings):
    context = Context(settings.model_copy(update={"run": settings.run.model_copy(update={"max_attempts": 7})}))
    assert context.meaning("dedupe", "near_duplicate") == SPECS["dedupe"].rejects[Reason.NEAR_DUPLICATE]
    assert context.meaning("verify", "ungrounded") != context.meaning("propose", "ungrounded")
    assert "7 times" in context.meaning("verify", "poison")


# rows and clips


def test_the_batches_under_way_are_at_hand(settings):
    run = settings.run.model_copy(update={"workers": 2, "batch": 4})
    assert Chunk(Context(settings.model_copy(update={"run": run})), "00000").store("caption").at_hand == 8


def test_cases_carry_what_was_asked_for_in_the_order_asked(settings):
    context = Context(settings)
    fill(context, 3, stages=("caption", "propose", "verify"))
    ids = clip_ids(3)[::-1]
    chunk = Chunk(context, "00000")
    cases = chunk.cases(ids, (Captioned, Verified))
    assert [case.clip for case in cases] == [clip_of(n) for n in (2, 1, 0)]
    assert {case.results for case in cases} == {(payload_of("caption"), payload_of("verify"))}
    with pytest.raises(KeyError):
        chunk.cases(ids, (Curated,))


def test_a_clip_comes_with_all_that_was_reached(settings):
    context = Context(settings)
    fill(context, 2, stages=("caption", "propose"))
    chunk = context.find(clip_ids(1)[0])
    assert chunk and context.find("f" * 16) is None
    reached = chunk.reached(clip_ids(1)[0])
    assert reached.clip == clip_of(0)
    assert reached.of(Proposed) == payload_of("propose") and reached.get(Verified) is None


def test_a_clip_whose_file_is_gone_is_the_worlds_failure_and_its_video_is_cut_again(settings):
    context = Context(settings)
    fill(context, 3, stages=())
    chunk = Chunk(context, "00000")
    assert recut(chunk) == []
    with pytest.raises(InfrastructureError, match=r"clips/1\.mp4 is gone"):
        chunk.frames(Case(clip_of(1)))
    context.folder.write("clips/1.mp4", b"something else")
    with pytest.raises(InfrastructureError, match=r"clips/1\.mp4 is gone or damaged"):
        chunk.mp4(Case(clip_of(1)))
    assert recut(chunk) == ["ingest: 1 videos are cut again"]
    sources = [source_of(n).source_id for n in range(3)]
    assert context.store("ingest").pending(sources) == [sources[1]]
    assert context.survey().tally("ingest").pending == 1


# engines


@dataclass
class Engine:
    """An engine that counts how often it is made ready, and says what it found."""

    resolved: str | None = None
    checked: int = 0
    error: Exception | None = None

    def check(self) -> str:
        self.checked += 1
        if self.error:
            raise self.error
        return "ready"


class Ready(Context):
    """A build with these engines, and no others."""

    def __init__(self, settings: BuildSettings, **engines: Any) -> None:
        super().__init__(settings)
        self.engines = engines

    def engine(self, kind: str) -> Any:
        return self.engines[kind]


def test_the_engines_of_these_stages_are_made_ready_and_no_others(settings):
    verifier, detector = Engine(), Engine()
    context = Ready(settings, language=object(), captioner=None, detector=detector, verifier=verifier)
    context.make_ready(["dedupe", "caption", "verify", "shard"], lambda _: False)
    assert (verifier.checked, detector.checked) == (1, 0)
    assert context.pins("verify").read() == {}, "nothing was left open"
    with pytest.raises(UserError, match="no weights"):
        Ready(settings, detector=Engine(error=UserError("no weights"))).make_ready(["propose"], lambda _: False)


def test_what_an_engine_turns_out_to_be_holds_for_all_that_follow(settings):
    Ready(settings, verifier=Engine("model of a run that ended before its first clip")).make_ready(
        ["verify"], Context(settings).survey().begun
    )
    Ready(settings, verifier=Engine("model a")).make_ready(["verify"], Context(settings).survey().begun)
    fill(Context(settings), 1, stages=("verify",))
    assert Context(settings).pins("verify").read() == {"verifier": "model a"}
    Ready(settings, verifier=Engine("model a")).make_ready(["verify"], Context(settings).survey().begun)
    with pytest.raises(UserError, match="model a is on record, model b is found"):
        Ready(settings, verifier=Engine("model b")).make_ready(["verify"], Context(settings).survey().begun)


def test_models_are_told_for_every_engine_with_what_was_found(settings):
    Ready(settings, verifier=Engine("model a")).make_ready(["verify"], Context(settings).survey().begun)
    models = Context(settings).models
    assert list(models) == [kind for spec in SPECS.values() for kind in spec.engines]
    assert models["captioner"] == "none"
    assert models["verifier"] == f"{Context(settings).declared('verifier')}, model a"
    assert models["detector"] == Context(settings).declared("detector")


# what is a source and what is a build's own


@pytest.mark.parametrize("form", ["{}", "file://{}", "relative"])
def test_an_out_folder_inside_the_source_is_refused(tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    raw = tmp_path / "raw"
    raw.mkdir()
    source = "raw" if form == "relative" else form.format(raw)
    with pytest.raises(UserError, match="lies inside the source"):
        Context(BuildSettings(source=source, out=str(raw / "out"))).list_source()
    assert list(Context(BuildSettings(source=source, out=str(tmp_path / "raw-out"))).list_source()) == []


def test_a_link_from_the_source_into_the_store_is_refused(settings, tmp_path):
    clips = tmp_path / "out" / "work" / "clips"
    clips.mkdir(parents=True)
    (clips / "a.mp4").write_bytes(b"x")
    (tmp_path / "raw" / "linked").symlink_to(clips)
    with pytest.raises(UserError, match="is reached from the source"):
        list(Context(settings).list_source())


def test_a_path_in_a_bucket_is_no_local_one(settings, tmp_path):
    video = tmp_path / "raw" / "work" / "a.mp4"
    video.parent.mkdir()
    video.write_bytes(b"x")
    away = settings.model_copy(update={"out": f"memory://{tmp_path / 'raw'}"})
    assert [found.uri for found in Context(away).list_source()] == [str(video)]


# the folder says what was built in it


def test_a_build_is_found_by_its_folder_even_when_that_was_moved(settings, tmp_path):
    built = open_build(settings)
    text = (tmp_path / "out" / "work" / BUILD_FILE).read_text()
    assert text.endswith("}\n") and json.loads(text)["fingerprints"] == built.fingerprints
    moved = str(shutil.move(settings.out, tmp_path / "moved"))
    found = context_of(moved)
    assert found.settings == settings.model_copy(update={"out": moved})
    assert found.fingerprints == built.fingerprints


def test_a_worker_keeps_to_the_build_it_was_told_and_others_see_the_last(settings):
    """A process that lives long must not write under settings that another run has replaced, nor the other way."""
    first = open_build(settings)
    assert context_of(settings.out, name_of(settings)).fingerprints == first.fingerprints
    other = settings.model_copy(update={"curate": settings.curate.model_copy(update={"max_ids": 2})})
    second = open_build(other)
    assert second.fingerprints["curate"] != first.fingerprints["curate"]
    assert context_of(settings.out).fingerprints == second.fingerprints
    assert context_of(settings.out, name_of(settings)).fingerprints == first.fingerprints
    assert context_of(settings.out, name_of(other)).fingerprints == second.fingerprints


def test_a_worker_that_sees_another_folder_or_is_of_another_version_takes_no_chunk(settings, tmp_path, monkeypatch):
    open_build(settings)
    assert join_build(settings).fingerprints == Context(settings).fingerprints
    elsewhere = settings.model_copy(update={"out": str(tmp_path / "mounted-elsewhere")})
    with pytest.raises(UserError, match="does not hold this build as"):
        join_build(elsewhere)
    monkeypatch.setattr("flows.context.fingerprint", lambda *given: "0" * 12)  # as code of another version names stages
    with pytest.raises(UserError, match="has another version of matrix_data than the build"):
        join_build(settings)


def test_fingerprints_on_record_stay_whatever_this_version_would_say(settings, tmp_path):
    open_build(settings)
    path = tmp_path / "out" / "work" / BUILD_FILE
    saved = json.loads(path.read_text())
    saved["fingerprints"]["verify"] = "0123456789ab"
    path.write_text(json.dumps(saved))
    moved = str(shutil.move(settings.out, tmp_path / "moved"))
    assert context_of(moved).fingerprints["verify"] == "0123456789ab"


def without(saved: dict[str, Any], *path: str) -> dict[str, Any]:
    *above, last = path
    inner = saved
    for name in above:
        inner = inner[name]
    del inner[last]
    return saved


DAMAGE = {
    "empty": lambda saved: "",
    "no text": lambda saved: b"\xff\xfe",
    "a list": lambda saved: "[]",
    "a number": lambda saved: "7",
    "deep": lambda saved: "[" * 200_000,
    "no settings": lambda saved: json.dumps(without(saved, "settings")),
    "no source": lambda saved: json.dumps(without(saved, "settings", "source")),
    "an unknown setting": lambda saved: json.dumps(saved | {"settings": saved["settings"] | {"sauce": 1}}),
    "settings of no kind": lambda saved: json.dumps(saved | {"settings": 3}),
    "a stage without a print": lambda saved: json.dumps(without(saved, "fingerprints", "verify")),
    "a print that is none": lambda saved: json.dumps(
        saved | {"fingerprints": saved["fingerprints"] | {"verify": "../../../../"}}
    ),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_account_of_a_build_is_told_in_one_line(tmp_path, settings, how):
    context = Context(settings)
    saved = {
        "schema": SCHEMA_VERSION,
        "settings": settings.model_dump(mode="json"),
        "fingerprints": context.fingerprints,
    }
    bad = DAMAGE[how](saved)
    context.folder.write(BUILD_FILE, bad if isinstance(bad, bytes) else bad.encode())
    with pytest.raises(UserError, match=r"build\.json is damaged: run the build command again") as told:
        context_of(settings.out)
    assert "\n" not in str(told.value)


def test_a_folder_of_another_version_is_refused_in_one_line(settings):
    open_build(settings)
    path = Path(settings.out, "work", BUILD_FILE)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": SCHEMA_VERSION + 1}))
    for look in (lambda: context_of(settings.out), lambda: open_build(settings)):
        with pytest.raises(UserError, match=r"another version of matrix_data .*another --out"):
            look()


@pytest.mark.parametrize("account", [None, b"torn"])
def test_rows_that_lie_in_no_chunks_are_refused_in_one_line(settings, account):
    """Where no account of a build tells their version; those of ours are gone on with."""
    context = Context(settings)
    fill(context, 2)
    work = Path(context.folder.root)
    if account:
        (work / BUILD_FILE).write_bytes(account)
    open_build(settings)
    (work / BUILD_FILE).unlink()
    for part in work.glob("curate/*/*/part-*"):
        part.rename(part.parents[1] / part.name)
    if account:
        (work / BUILD_FILE).write_bytes(account)
    there = sorted(work.rglob("*"))
    with pytest.raises(
        UserError, match=r"another version of matrix_data \(work/curate/.* has no chunks\).*another --out"
    ):
        open_build(settings)
    assert sorted(work.rglob("*")) == there


def test_a_folder_without_a_build_says_which_command_makes_one(tmp_path):
    with pytest.raises(UserError, match=r"no build in .*: run `matrix_data build SOURCE --out"):
        context_of(str(tmp_path))


def test_an_out_folder_that_cannot_be_one_is_the_users_mistake(settings, tmp_path):
    Path(settings.out).write_text("a file")
    with pytest.raises(UserError, match=r"cannot write to .*give another --out"):
        open_build(settings)


def test_damage_is_told_and_mended_under_the_lease(settings, tmp_path):
    context = Context(settings)
    fill(context, 2, stages=())
    (part,) = (tmp_path / "out" / "work" / "dedupe").rglob("part-*.parquet")
    part.write_bytes(part.read_bytes()[:-3])
    store = context.store("dedupe")
    assert store.pending(clip_ids(2)) == clip_ids(2)
    (told,) = store.damaged
    assert part.name in told and told in context.remarks()
    assert not context.survey().settled("dedupe"), "a part of another size is counted anew"
    (told,) = store.mend()
    assert part.name in told
    assert context.store("dedupe").damaged == []
