"""What a table of jobs leaves for `evaluate`; held-out clips are in `test_sample.py`."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from matrix_train.errors import UserError
from matrix_train.evaluate.protocol.prompt import read_prompts
from matrix_train.evaluate.protocol.sampled import asked_of_job
from matrix_train.sample.job import Job
from tests.matrix_train.sample.test_sample import judged, run

MARKED = "<id1>A tall man</id1> <id1+id2>lifts</id1+id2> <id2>the boxes</id2> up."


def test_a_tables_jobs_that_say_who_does_it_are_asked_about(sampled_run: Path, pictures: Path, tmp_path: Path) -> None:
    job = {"image": "i.png", "idmap": "m.png", "name": "said", "prompt": MARKED}
    table = pictures / "asked.jsonl"
    table.write_text("\n".join(map(json.dumps, (job, job | {"name": "plain", "prompt": "A man lifts a box."}))))
    small = ("--steps", 1, "--height", 64, "--width", 64)
    found = run("sample", sampled_run, "--table", table, "--out", tmp_path / "F", *small)
    (prompt,) = read_prompts(Path(found["prompts"]))
    assert prompt.prompt == "A tall man lifts the boxes up."
    assert [(i.cls, i.appearance) for i in prompt.instances] == [("man", "tall man"), ("box", "boxes")]
    (act,) = prompt.interactions
    assert (act.subject, act.verb, act.object) == ("id1", "lifts", "id2") and act.contact and act.dynamism
    with Image.open(tmp_path / "F/said.idmap.png") as shown:
        assert shown.size == (64, 64)
    with pytest.raises(UserError, match=r"no prompt for plain\.mp4"):
        judged(tmp_path / "F", found["prompts"], tmp_path / "E")
    table.write_text(json.dumps(job))
    assert run("sample", sampled_run, "--table", table, "--out", tmp_path / "G", *small)["made"] == ["said"]
    assert judged(tmp_path / "G", tmp_path / "G/prompts.jsonl", tmp_path / "E") == ["said.mp4"]
    # What a person has written into a line stays, and no line of theirs is lost.
    prompts = tmp_path / "G/prompts.jsonl"
    edited = prompts.read_text().replace('"tall man"', '"man who is tall"')
    assert edited != prompts.read_text()
    prompts.write_text(edited)
    assert run("sample", sampled_run, "--table", table, "--out", tmp_path / "G", *small)["there"] == ["said"]
    assert read_prompts(prompts)[0].prompt == "A tall man lifts the boxes up."
    assert read_prompts(prompts)[0].instances[0].appearance == "man who is tall"
    # Without any such job there is no file, nor the one of an earlier run.
    table.write_text(json.dumps(job | {"prompt": "A man lifts a box."}))
    assert run("sample", sampled_run, "--table", table, "--out", tmp_path / "G", *small)["prompts"] is None
    assert not (tmp_path / "G/prompts.jsonl").exists()


def test_somebody_elses_prompts_file_is_not_written_over(sampled_run: Path, pictures: Path, tmp_path: Path) -> None:
    table = tmp_path / "prompts.jsonl"
    table.write_text(text := json.dumps({"image": "i.png", "idmap": "m.png", "prompt": MARKED}))
    with pytest.raises(UserError, match="is no prompts file, and would be written over: give another --out"):
        run("sample", sampled_run, "--table", table, "--out", tmp_path)
    assert table.read_text() == text
    theirs = tmp_path / "mine/prompts.jsonl"
    theirs.parent.mkdir()
    things = [{"id": ids, "cls": cls, "appearance": cls} for ids, cls in (("id1", "man"), ("id2", "box"))]
    line = {"video": "a.mp4", "prompt": "x", "instances": things, "tracks": "a.tracks.json"}
    theirs.write_text(text := json.dumps(line | {"interactions": [{"subject": "id1", "verb": "x", "object": "id2"}]}))
    with pytest.raises(UserError, match=r"the line of a\.mp4 is not of `sample`"):
        run("sample", sampled_run, "--table", table, "--out", theirs.parent)
    assert theirs.read_text() == text
    own = tmp_path / "own/a.idmap.png"
    own.parent.mkdir()
    own.write_bytes(b"theirs")
    table.write_text(json.dumps({"name": "a", "image": "i.png", "idmap": "m.png", "prompt": MARKED}))
    with pytest.raises(UserError, match=r"a\.idmap\.png would be written over: give another --out"):
        run("sample", sampled_run, "--table", table, "--out", own.parent)
    assert own.read_bytes() == b"theirs"


def test_a_role_without_places_is_told() -> None:
    job = Job.model_validate({"image": "i.png", "prompt": "A man.", "masks": {"id1": "0"}, "roles": {"id1": []}})
    with pytest.raises(UserError, match="id1 has no places in the prompt"):
        asked_of_job("a.mp4", job, np.zeros((2, 2), np.uint8))


@pytest.mark.parametrize(
    ("prompt", "roles"),
    [
        ("A man lifts a box.", {}),
        ("A man lifts a box.", {"id1": "A man", "id2": "a box"}),
        ("A man lifts a box.", {"id1": "A man", "id1+id2": "lifts"}),
        ("A man lifts a box.", {"id1": "A man", "id2": "box", "id1+id2+id3": "lifts"}),
        ("<id1> A man lifts <id2> a box.", {"id1+id2": "lifts"}),
        ("<id1> A man lifts <id3> a box.", {"id1": "man", "id1+id2": "lifts"}),
    ],
)
def test_roles_without_an_act_between_two_with_words_say_nothing(prompt: str, roles: dict[str, str]) -> None:
    job = Job.model_validate({"image": "i.png", "prompt": prompt, "masks": {"id1": "0"}, "roles": roles})
    assert asked_of_job("a.mp4", job, np.zeros((2, 2), np.uint8)) == "no roles say who does what to whom"


def test_words_that_the_grammar_does_not_know_have_no_ratings() -> None:
    marked = "<id1>The blorp</id1> <id1+id2>zaps</id1+id2> <id2>an old gnarf</id2>"
    job = Job.model_validate({"image": "i.png", "prompt": marked, "masks": {"id1": "0", "id2": "0"}})
    asked = asked_of_job("a.b.mp4", job, np.zeros((2, 2), np.uint8))
    assert not isinstance(asked, str)
    prompt, _ = asked
    assert prompt.idmap == "a.b.idmap.png"
    assert [(i.cls, i.appearance) for i in prompt.instances] == [("blorp", "blorp"), ("gnarf", "old gnarf")]
    assert (prompt.interactions[0].contact, prompt.interactions[0].dynamism) == (None, None)


def test_what_no_prompts_file_holds_is_said() -> None:
    """A class of more than 80 characters, and an ID whose colour has no name."""
    for ids, thing in (("id2", "box" * 100), ("id12", "box")):
        marked = f"<id1>A man</id1> <id1+{ids}>lifts</id1+{ids}> <{ids}>a {thing}</{ids}>."
        job = Job.model_validate({"image": "i.png", "prompt": marked, "masks": {"id1": "0", ids: "0"}})
        why = asked_of_job("a.mp4", job, np.zeros((2, 2), np.uint8))
        assert isinstance(why, str) and ("at most 80 characters" in why or "no colour with a name" in why), why
