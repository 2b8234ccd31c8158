"""The funnel is a sum of tallies: each counted once a state, and nothing is opened where one stands."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.setting.rows import CHAIN, deduped, fill, fill_chunk, key_of, payload_of, put
from flows.build import WHOLES, Run
from flows.chunk import Chunk
from flows.context import Context
from flows.legs import RECORDED
from flows.settings import BuildSettings, RunSettings
from flows.survey import TALLY, Survey
from flows.tally import Tally, total
from schemas import Reason, Row, Status
from tasks.store.folder import Folder

CLIPS, SIZE = 5, 2
CHUNKS = ["00000", "00001", "00002"]


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """Five clips in three chunks, on record and settled up to `dedupe`."""
    run = RunSettings(chunk=SIZE)
    made = Context(BuildSettings(source=str(tmp_path / "raw"), out=str(tmp_path / "out"), run=run))
    fill(made, CLIPS, ())
    return made


def accepted(stage: str, *numbers: int) -> list[Row[Any]]:
    return [Row(key=key_of("clip", n), status=Status.ACCEPTED, seconds=0.5, payload=payload_of(stage)) for n in numbers]


def rejected(*numbers: int) -> list[Row[Any]]:
    return [Row(key=key_of("clip", n), status=Status.REJECTED, reason=Reason.NO_INTERACTION) for n in numbers]


def numbers(line: Tally) -> tuple[int, int, int, int]:
    return line.arrived, line.accepted, sum(line.rejected.values()), line.pending


def lines(survey: Survey) -> dict[str, tuple[int, int, int, int]]:
    return {line.stage: numbers(line) for line in survey.funnel()}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the files that are opened or read, below the store's root."""
    names = list[str]()

    def telling(real: Callable[[Folder, str], Any]) -> Callable[[Folder, str], Any]:
        def tell(folder: Folder, name: str) -> Any:
            names.append(f"{folder.root.rpartition('/work')[2]}/{name}")
            return real(folder, name)

        return tell

    for how in ("open", "read"):
        monkeypatch.setattr(Folder, how, telling(getattr(Folder, how)))
    yield names


def parts(opened: list[str]) -> list[str]:
    return [name for name in opened if name.endswith(".parquet")]


def tallies(context: Context, stage: str, chunk: str = "") -> list[str]:
    return [name for name in context.folder.names(context.place(stage, chunk)) if name.startswith(TALLY)]


def test_every_stage_has_a_line_and_each_adds_up(context: Context) -> None:
    put(context, "caption", [*accepted("caption", 0), *rejected(1)], CHUNKS[0])
    put(context, "caption", accepted("caption", 4), CHUNKS[2])
    found = lines(context.survey())
    assert list(found) == list(RECORDED)
    assert {stage: found[stage] for stage in ("scan", "select", "ingest", "dedupe")} == dict.fromkeys(
        ("scan", "select", "ingest", "dedupe"), (5, 5, 0, 0)
    )
    assert found["caption"] == (5, 2, 1, 2) and found["propose"] == (2, 0, 0, 2) and found["verify"] == (0, 0, 0, 0)
    assert all(came == took + left + waits for came, took, left, waits in found.values())
    survey = context.survey()
    assert survey.pending("caption") == CHUNKS[1:2] and survey.pending("propose") == [CHUNKS[0], CHUNKS[2]]
    assert survey.ahead(["ingest", "dedupe", *CHAIN]) == [*CHAIN]


def test_a_line_is_the_sum_of_its_chunks(context: Context) -> None:
    put(context, "caption", [*accepted("caption", 0), *rejected(1)], CHUNKS[0])
    put(context, "caption", rejected(2), CHUNKS[1])
    survey = context.survey()
    own = [survey.of_chunk("caption", name) for name in survey.chunks("caption")]
    assert [numbers(line) for line in own] == [(2, 1, 1, 0), (2, 0, 1, 1), (1, 0, 0, 1)]
    assert survey.tally("caption") == total("caption", own)
    assert survey.tally("caption").seconds == 0.5
    assert own == [Chunk(context, name).tally("caption") for name in CHUNKS]


def test_nothing_is_opened_for_what_is_settled(context: Context, opened: list[str]) -> None:
    found = lines(context.survey())
    assert parts(opened) == [] and len(opened) == 4 * len(CHUNKS), "one tally a chunk and stage"
    put(context, "caption", accepted("caption", 2), CHUNKS[1])
    opened.clear()
    survey = context.survey()
    assert lines(survey) == {**found, "caption": (5, 1, 0, 4), "propose": (1, 0, 0, 1)}
    assert {name.split("/")[1] for name in parts(opened)} == {"dedupe", "caption"}, "to know what had arrived"
    assert {name.split("/")[3] for name in parts(opened)} == {CHUNKS[1]}
    with context.lease("caption", CHUNKS[1]):
        survey.settle("caption", CHUNKS[1])
    opened.clear()
    assert lines(context.survey())["caption"] == (5, 1, 0, 4) and parts(opened) == []


def test_a_chunk_is_counted_once_a_state_and_what_is_new_is_read_alone(context: Context, opened: list[str]) -> None:
    put(context, "caption", accepted("caption", 0), CHUNKS[0])
    survey = context.survey()
    assert lines(survey)["caption"] == (5, 1, 0, 4)
    opened.clear()
    for _ in range(3):
        assert lines(survey.look())["caption"] == (5, 1, 0, 4)
    assert opened == []
    before = set(context.folder.names(context.place("caption", CHUNKS[0])))
    put(context, "caption", rejected(1), CHUNKS[0])
    (fresh,) = set(context.folder.names(context.place("caption", CHUNKS[0]))) - before
    survey.look()
    opened.clear()
    assert lines(survey)["caption"] == (5, 1, 1, 3)
    assert fresh in {name.rpartition("/")[2] for name in parts(opened)}
    assert {name.split("/")[3] for name in parts(opened)} == {CHUNKS[0]}


def test_looking_writes_nothing(context: Context) -> None:
    put(context, "caption", accepted("caption", 0), CHUNKS[0])
    before = dict(context.folder.walk())
    context.survey().funnel()
    assert dict(context.folder.walk()) == before


def test_a_tally_takes_the_place_of_earlier_ones_and_says_what_was_counted(context: Context) -> None:
    survey = context.survey()
    for n in (0, 1):
        put(context, "caption", accepted("caption", n), CHUNKS[0])
        survey.look().settle("caption", CHUNKS[0])
        (name,) = tallies(context, "caption", CHUNKS[0])
        assert name == f"{TALLY}{survey.state('caption', CHUNKS[0])}.json"
        kept = Tally.model_validate_json(context.folder.read(f"{context.place('caption', CHUNKS[0])}/{name}"))
        assert numbers(kept) == (2, n + 1, 0, 1 - n) and kept == survey.of_chunk("caption", CHUNKS[0])
    before = dict(context.folder.walk())
    survey.settle("caption", CHUNKS[0])
    assert dict(context.folder.walk()) == before


@pytest.mark.parametrize("how", ["upstream", "merged", "forgotten", "failed"])
def test_a_tally_of_another_state_counts_for_nothing(context: Context, how: str) -> None:
    put(context, "caption", accepted("caption", 0), CHUNKS[0])
    put(context, "caption", accepted("caption", 1), CHUNKS[0])
    context.survey().settle("caption", CHUNKS[0])
    wanted = (2, 2, 0, 0)
    if how == "upstream":
        context.store("dedupe").forget([key_of("clip", 1)])
        wanted = (1, 1, 0, 0)
    elif how == "forgotten":
        context.store("caption").forget([key_of("clip", 1)])
        wanted = (2, 1, 0, 1)
    elif how == "failed":
        put(context, "caption", [Row(key=key_of("clip", 0), status=Status.FAILED, seconds=1.0)], CHUNKS[0])
    else:
        names = context.folder.names(context.place("caption", CHUNKS[0]))
        one, two = (f"{context.place('caption', CHUNKS[0])}/{name}" for name in names if name.startswith("part-"))
        context.folder.write(one.replace("part-", "part-0"), context.folder.read(one))
        context.folder.remove(one)
        assert two
    survey = context.survey()
    assert f"{TALLY}{survey.state('caption', CHUNKS[0])}.json" not in tallies(context, "caption", CHUNKS[0])
    assert numbers(survey.of_chunk("caption", CHUNKS[0])) == wanted


def test_what_cannot_be_read_is_counted_anew_once_it_is_unsettled(context: Context) -> None:
    put(context, "caption", accepted("caption", 0, 1), CHUNKS[0])
    survey = context.survey()
    survey.settle("caption", CHUNKS[0])
    (name,) = [n for n in context.folder.names(context.place("caption", CHUNKS[0])) if n.startswith("part-")]
    path = f"{context.place('caption', CHUNKS[0])}/{name}"
    context.folder.write(path, bytes(len(context.folder.read(path))))
    assert numbers(survey.look().of_chunk("caption", CHUNKS[0])) == (2, 2, 0, 0), "names and sizes are as they were"
    survey.unsettle("caption", CHUNKS[0])
    assert tallies(context, "caption", CHUNKS[0]) == []
    assert numbers(survey.of_chunk("caption", CHUNKS[0])) == (2, 0, 0, 2)


def test_a_tally_that_is_no_tally_is_counted_again(context: Context) -> None:
    put(context, "caption", accepted("caption", 0), CHUNKS[0])
    survey = context.survey()
    survey.settle("caption", CHUNKS[0])
    (name,) = tallies(context, "caption", CHUNKS[0])
    context.folder.write(f"{context.place('caption', CHUNKS[0])}/{name}", b"{")
    assert numbers(context.survey().of_chunk("caption", CHUNKS[0])) == (2, 1, 0, 1)


# stages that see everything


def test_what_has_come_since_a_whole_stage_was_settled_waits_for_it(context: Context) -> None:
    survey = context.survey()
    assert survey.settled("select") and survey.settled("dedupe")
    fill_chunk(context, "00003", range(6, 8), ())
    context.folder.remove(context.place("dedupe", "00003"))
    survey.look()
    assert not survey.settled("dedupe")
    assert numbers(survey.tally("ingest")) == (7, 7, 0, 0)
    assert numbers(survey.tally("dedupe")) == (7, 5, 0, 2)
    assert survey.chunks("caption") == CHUNKS, "what is not cut yet arrives nowhere"
    put(
        context,
        "dedupe",
        [Row(key=key_of("clip", n), status=Status.ACCEPTED, payload=deduped(n)) for n in (6, 7)],
        "00003",
    )
    with context.lease("dedupe"):
        survey.look().settle("dedupe")
    assert survey.look().settled("dedupe") and numbers(survey.tally("dedupe")) == (7, 7, 0, 0)
    assert len(tallies(context, "dedupe")) == 1 and survey.chunks("caption") == [*CHUNKS, "00003"]


@pytest.mark.parametrize("meanwhile", [False, True])
def test_what_comes_while_a_whole_stage_decides_is_not_taken_for_seen(
    context: Context, monkeypatch: pytest.MonkeyPatch, meanwhile: bool
) -> None:
    def add(chunk: str, *numbers: int) -> None:
        fill_chunk(context, chunk, range(numbers[0], numbers[-1] + 1), ())
        context.folder.remove(context.place("dedupe", chunk))
        context.survey().settle("select")

    def decide(out: str, *_: str) -> list[str]:
        rows = [Row[Any](key=key_of("clip", n), status=Status.ACCEPTED, payload=deduped(n)) for n in (6, 7)]
        put(context, "dedupe", rows, "00003")
        if meanwhile:  # by another process
            add("00004", 8, 9)
        return []

    add("00003", 6, 7)
    monkeypatch.setitem(WHOLES, ("dedupe", "whole"), decide)
    run = Run(context)
    run.whole("dedupe")
    assert run.told == []
    survey = context.survey()
    assert survey.settled("dedupe") == (not meanwhile)
    assert numbers(survey.tally("dedupe")) == ((9, 7, 0, 2) if meanwhile else (7, 7, 0, 0))


def test_what_a_killed_run_left_uncounted_is_told(context: Context) -> None:
    survey = context.survey()
    assert survey.unsettled("scan") == survey.unsettled("dedupe") == []
    put(context, "caption", accepted("caption", 0, 1), "00000")
    assert survey.look().unsettled("caption") == CHUNKS
    survey.settle("caption", "00000")
    assert survey.look().unsettled("caption") == CHUNKS[1:]


def test_a_whole_stage_may_have_rows_that_nothing_led_to(context: Context) -> None:
    row = Row[Any](key="f" * 16, status=Status.REJECTED, reason=Reason.NO_VIDEO)
    put(context, "select", [row], CHUNKS[2])
    survey = context.survey()
    with context.lease("select"):
        survey.settle("select")
    line = survey.look().tally("select")
    assert numbers(line) == (6, 5, 1, 0) and line.links == 5
    assert numbers(survey.tally("ingest")) == (5, 5, 0, 0)


def test_one_chunk_can_be_looked_at_alone(context: Context, opened: list[str]) -> None:
    put(context, "caption", accepted("caption", 2), CHUNKS[1])
    opened.clear()
    survey = Survey(context, CHUNKS[1])
    assert survey.chunks("caption") == [CHUNKS[1]] and numbers(survey.tally("caption")) == (2, 1, 0, 1)
    assert {name.split("/")[3] for name in opened} == {CHUNKS[1]}


def test_an_empty_store_is_a_funnel_of_nothing(tmp_path: Path) -> None:
    survey = Context(BuildSettings(source=str(tmp_path / "raw"), out=str(tmp_path / "out"))).survey()
    assert set(lines(survey).values()) == {(0, 0, 0, 0)} and survey.ahead(RECORDED) == []
    assert not any(survey.begun(stage) for stage in RECORDED)


def test_a_damaged_mark_of_a_stage_that_sees_everything_is_as_none(context: Context) -> None:
    context.store("ingest").forget([key_of("source", 0)])  # what is there now is not what dedupe has settled
    (mark,) = tallies(context, "dedupe")
    before = numbers(context.survey().tally("dedupe"))
    context.folder.write(f"{context.place('dedupe')}/{mark}", b"{")
    assert numbers(context.survey().tally("dedupe")) == before
