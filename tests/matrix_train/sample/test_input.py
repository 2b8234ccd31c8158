"""What a job may give, and what is said of what it may not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers import PreTrainedTokenizerFast
from typer.testing import CliRunner

from matrix_train.cli import app as cli
from matrix_train.cli.sample import places, roles_of
from matrix_train.errors import UserError
from matrix_train.sample.job import Job
from matrix_train.sample.picture import Picture, encode, read_picture
from matrix_train.sample.reading import read_roles
from matrix_train.sample.trackers import Trackers
from matrix_train.sample.words import check_words, role_tokens
from schemas import Span
from schemas.idmap import decode_id_map, encode_id_map

PROMPT = "A man in a blue shirt is lifting up a red box."


def read(folder: Path, **changes: Any) -> Picture:
    job = {"image": str(folder / "i.png"), "prompt": PROMPT} | changes
    return read_picture(Job.model_validate(job), Trackers())


def test_map_rle_and_box_are_the_same_instance(pictures: Path) -> None:
    mapped = read(pictures, idmap=str(pictures / "m.png"))
    assert {name: int(mask.sum()) for name, mask in mapped.masks.items()} == {"id1": 720, "id2": 720}
    coco = {name: {"size": [64, 96], "counts": encode(mask[0])} for name, mask in mapped.masks.items()}
    assert np.array_equal(read(pictures, masks=coco).indices, mapped.indices)
    tracks = read(pictures, masks={"id1": [coco["id1"], None], "id2": [None, coco["id2"]]})
    assert tracks.masks["id1"].shape == (2, 64, 96)
    assert set(np.unique(tracks.indices)) == {0, 1}, "id2 comes later"
    boxed = read(pictures, boxes={"id1": [6, 16, 40, 54]}, points={"id2": [70, 30]})
    for name, masks in mapped.masks.items():
        both = masks & boxed.masks[name]
        assert both.sum() > 0.9 * (masks | boxed.masks[name]).sum(), name


def test_of_two_masks_the_smaller_is_on_top(pictures: Path) -> None:
    small, large = np.zeros((2, 64, 96), bool)
    small[:10, :10], large[:20, :20] = True, True
    found = read(pictures, masks={"id2": encode(large), "id1": encode(small)})
    assert found.indices[5, 5] == 1
    assert found.indices[15, 15] == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"idmap": "wide.png"}, "is 48x64, its image 96x64: make it of the image's size"),
        ({"idmap": "smooth.png"}, r"has other colours than the palette's, first \(9, 9, 9\) at 3, 2: save it"),
        ({"idmap": "grey.png"}, "is of mode L, neither palette nor RGB"),
        ({"idmap": "six.png"}, r"6 IDs \(id1, id2, id3, id4, id5, id6\): the model knows 5 a clip, leave some out"),
        ({"idmap": "i.jpg"}, "not a readable PNG"),
        ({"idmap": "none.png"}, "no such file"),
        ({"image": "none.png", "idmap": "m.png"}, "not a readable picture: no such file: give a PNG or JPEG"),
        ({"image": "m.txt", "idmap": "m.png"}, "not a readable picture"),
        ({"masks": {"id1": "zz"}}, "the mask of id1: run lengths"),
        ({"masks": {"id1": [None]}}, "the mask of id1 is empty"),
        ({"boxes": {"id1": [200, 1, 300, 9]}}, "the box of id1 lies outside of the picture, which is 96x64"),
        ({"boxes": {"id1": [20, 1, 10, 9]}}, "the box of id1 has no area"),
        ({"points": {"id1": [96, 1]}}, "the point of id1, 96,1, lies outside"),
        ({"points": {"id1": [50, 5]}}, "the point of id1 lies on the background, as it seems: give a box"),
    ],
)  # fmt: skip
def test_pictures_that_cannot_be_used(pictures: Path, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    for name in ("i.png", "m.png"):
        (tmp_path / name).write_bytes((pictures / name).read_bytes())
    rgb = np.zeros((64, 96, 3), np.uint8)
    rgb[2, 3] = 9
    Image.fromarray(rgb).save(tmp_path / "smooth.png")
    Image.fromarray(rgb[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(rgb).save(tmp_path / "i.jpg")
    (tmp_path / "wide.png").write_bytes(encode_id_map(np.zeros((64, 48), np.uint8)))
    (tmp_path / "six.png").write_bytes(encode_id_map((np.arange(64 * 96, dtype=np.uint8).reshape(64, 96)) % 7))
    (tmp_path / "m.txt").write_text("no picture")
    paths = {key: str(tmp_path / value) if key in ("image", "idmap") else value for key, value in changes.items()}
    with pytest.raises(UserError, match=said):
        read(tmp_path, **paths)


@pytest.mark.parametrize(
    ("prompt", "roles", "masked", "trained", "said"),
    [
        ("<id1> A man", {}, ["id2", "id1"], True, "id2 has a mask, but neither tag nor role says which words mean it"),
        ("<id1> A man lifts <id2> a box", {}, ["id1"], None, "<id2> is in the prompt or its roles, but has no mask"),
        ("<id1> A man", {}, ["id1"], False, "the prompt has tags, but the model was trained without"),
        ("A man", {}, ["id1"], True, "trained on prompts with tags: write <id1> before"),
        ("A man", {"id1": "the man"}, ["id1"], None, "the prompt does not say 'the man', the words of id1"),
        ("A man", {"id1": "ma"}, ["id1"], None, "does not say 'ma'"),
        ("a man, a man", {"id1": "a man"}, ["id1"], None, "says 'a man', the words of id1, 2 times: give more of them"),
        ("A man", {"id1": [{"start": 1, "end": 9}]}, ["id1"], None, "the place 1-9 of id1 holds no words"),
    ],
)
def test_words_that_do_not_fit(prompt: str, roles: Any, masked: list[str], trained: bool | None, said: str) -> None:
    job = Job.model_validate({"image": "i.png", "idmap": "m.png", "prompt": prompt, "roles": roles})
    with pytest.raises(UserError, match=said):
        check_words(job, masked, trained)


def test_tags_and_words_become_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    roles = {"id1": "A man in a blue shirt", "id1+id2": "is lifting up", "id2": [{"start": 36, "end": 45}]}
    job = Job.model_validate({"image": "i", "idmap": "m", "prompt": PROMPT, "roles": roles})
    spans = check_words(job, ["id1", "id2"], False)
    assert [PROMPT[s.start : s.end] for s in spans["id2"]] == ["a red box"]
    ids, tokens = role_tokens(tokenizer, PROMPT, spans, 60)
    said = {name: tokenizer.decode([ids[t] for t in found]).replace(" ", "") for name, found in tokens.items()}
    assert said == {"id1": "Amaninablueshirt", "id1+id2": "isliftingup", "id2": "aredbox"}
    with pytest.raises(UserError, match="the prompt's words for id1 lie beyond its 12 tokens: shorten it"):
        role_tokens(tokenizer, PROMPT, spans, 12)
    plain = Job.model_validate({"image": "i", "idmap": "m", "prompt": PROMPT})
    assert check_words(plain, ["id1"], None) == {}
    tagged = Job.model_validate({"image": "i", "idmap": "m", "prompt": "<id1> a man and <id1> a hat"})
    assert check_words(tagged, ["id1"], True) == {"id1": (Span(start=0, end=5), Span(start=16, end=21))}


def test_words_that_are_marked_in_the_prompt_are_roles() -> None:
    marked = "<id1>A man</id1> <id1+id2>lifts</id1+id2> <id2>a box</id2>, <id1>he</id1> is tall."
    job = Job.model_validate({"image": "i", "idmap": "m", "prompt": marked})
    assert job.prompt == "A man lifts a box, he is tall."
    places = check_words(job, ["id1", "id2"], False)
    said = {ids: [job.prompt[s.start : s.end] for s in spans] for ids, spans in places.items()}
    assert said == {"id1": ["A man", "he"], "id1+id2": ["lifts"], "id2": ["a box"]}
    assert Job.model_validate(job.model_dump()) == job
    with pytest.raises(ValueError, match="id1 is marked in the prompt and has a role: give one"):
        Job.model_validate({"image": "i", "idmap": "m", "prompt": marked, "roles": {"id1": "A man"}})
    with pytest.raises(ValueError, match="nothing stands between <id1> and </id1>"):
        Job.model_validate({"image": "i", "idmap": "m", "prompt": "<id1> </id1> A man"})


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("A box is lifted by a man.", {"id1": ["box"], "id2+id1": ["is lifted"], "id2": ["man"]}),
        (
            "A woman in a red hoodie hands a mug to the man in a blue shirt.",
            {"id1": ["woman in a red hoodie"], "id1+id2": ["hands"], "id2": ["mug"], "id1+id3": ["hands", "to"],
             "id3": ["man in a blue shirt"]},
        ),
        ("A man lifts a box, then he throws it.", {"id1": ["man"], "id1+id2": ["lifts", "throws"], "id2": ["box"]}),
    ],
)  # fmt: skip
def test_a_plain_prompt_numbers_whom_it_names_as_captions_do(prompt: str, said: dict[str, list[str]]) -> None:
    whom = {name for ids in said for name in ids.split("+")}
    found = read_roles(prompt, whom)
    assert {ids: [prompt[span.start : span.end] for span in spans] for ids, spans in found.items()} == said
    for other in (whom - {"id1"}, whom | {"id5"}, {"id7"}):
        with pytest.raises(UserError, match=rf"names id1 .*, the masks {', '.join(sorted(other))}: mark the words"):
            read_roles(prompt, other)


def test_an_id_map_is_made_from_boxes_and_points(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "M.png"
    words = ["idmap", pictures / "i.png", "--box", "id1=6,16,40,54", "--point", "id2=70,30", "--out", out, "--json"]
    result = CliRunner().invoke(cli.app, list(map(str, words)), catch_exceptions=False)
    found = json.loads(result.stdout.splitlines()[-1])
    indices = decode_id_map(out.read_bytes(), 64, 96)
    assert {f"id{k}": int((indices == k).sum()) for k in (1, 2)} == found["pixels"]
    assert min(found["pixels"].values()) > 600
    many = [part for k in range(1, 7) for part in ("--box", f"id{k}=6,16,40,54")]
    for boxes, place, said in (
        (many, out, "6 IDs .*: the model knows 5"),
        (many[:2], out / "n.png", "Not a directory"),
    ):
        again = ["idmap", str(pictures / "i.png"), *boxes, "--out", str(place)]
        with pytest.raises(UserError, match=said):
            CliRunner().invoke(cli.app, again, catch_exceptions=False)


@pytest.mark.parametrize("text", ["id1", "1=1,2", "id1=1", "id1=1,x", "id1=nan,1", "id0=1,2", "id1=1e9,1"])
def test_a_place_that_cannot_be_read(text: str) -> None:
    with pytest.raises(UserError, match=r"write it as id1=x,y"):
        places([text], 2, "--point", "id1=x,y")
    with pytest.raises(UserError, match="id1 has one already"):
        places(["id1=1,2", "id1=1,2"], 2, "--point", "id1=x,y")
    with pytest.raises(UserError, match="write it as id1"):
        roles_of(["id1"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["r", "--out", "v.mp4"], "give one of --image, --table, --dataset, --again, got none"),
        (["r", "--image", "i.png", "--table", "t", "--out", "f"], "got --image, --table"),
        (["--image", "i.png", "--out", "v.mp4"], "give the run folder"),
        (["r", "--again", "v.json"], "only --again knows it itself"),
        (["r", "--image", "i.png"], "say by --out"),
        (["--again", "v.json", "--steps", "4", "--no-tiling"], "--steps, --tiling would change nothing with --again"),
        (["r", "--table", "t", "--out", "f", "--seed", "0"], "--seed would change nothing with --table"),
        (["r", "--dataset", "d", "--out", "f", "--box", "id1=1,2,3,4"], "--box would change nothing with --dataset"),
        (
            ["r", "--image", "i.png", "--out", "v.mp4", "--prompt", "a", "--base", "--batch", "2"],
            "--base, --batch would change nothing with --image: leave that out",
        ),
        (["r", "--image", "i.png", "--out", "v.avi", "--prompt", "a"], "give the name of an mp4"),
        (
            ["r", "--image", "i.png", "--out", "v.mp4", "--prompt", "a"],
            "error give the instances by one of idmap, masks",
        ),
        (
            ["r", "--image", "i.png", "--idmap", "m", "--out", f"{__file__}/v.mp4", "--prompt", "a"],
            "test_input.py: Not a directory: give another place",
        ),
        (["r", "--table", "jobs.jsonl", "--out", __file__], "Not a directory: give another place"),
        (["nowhere", "--image", "i.png", "--idmap", "m", "--out", "v.mp4", "--prompt", "a"], "neither a run folder"),
        (["nowhere", "--dataset", "d", "--split", "test", "--out", "f"], "--split test: give train or val"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["matrix_train", "sample", *words])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_job_alone_is_told_once(
    sampled_run: Path,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = {"--image": "i.png", "--idmap": "m.png"}
    words = [part for name, file in given.items() for part in (name, str(pictures / file))]
    out = tmp_path / "new/v.mp4"
    monkeypatch.setattr(
        "sys.argv",
        ["matrix_train", "sample", str(sampled_run), *words, "--prompt", "It rains.", "--out", str(out), "--cmg", "1"],
    )
    with pytest.raises(SystemExit):
        cli.main()
    assert capsys.readouterr().err.splitlines() == [
        "error CMG needs to know which words mean whom, and the prompt as it is read here names nobody, the masks id1, "
        "id2: mark the words in it, as <id1>A man</id1> <id1+id2>lifts</id1+id2> <id2>a box</id2>, or give --role"
    ]
    assert not out.parent.exists()
