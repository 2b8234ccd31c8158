"""`matrix_train sample` in all its forms, by the tiny model."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from matrix_train.backbones import Wan22
from matrix_train.cli import app as cli
from matrix_train.data import Geometry, MatrixDataset, Ref
from matrix_train.data.batch import Collate
from matrix_train.errors import UserError
from matrix_train.evaluate.protocol.prompt import read_prompts
from matrix_train.export.export import export, merge
from matrix_train.sample.dataset import HeldOutClip, held_out
from matrix_train.sample.grid import read_mp4
from matrix_train.sample.job import Unreadable
from matrix_train.sample.model import Model, Source
from matrix_train.sample.picture import read_picture
from matrix_train.sample.run import _Log, region
from matrix_train.sample.trackers import Trackers
from schemas.idmap import decode_id_map
from tests.matrix_train.data.shards import Files, config, edit_json, files_of, rows_of, tamper
from tests.matrix_train.sample.conftest import drawn_run

PROMPT = "a red block pushes a blue block"


def run(*words: object, code: int = 0) -> dict[str, Any]:
    result = CliRunner().invoke(cli.app, [*map(str, words), "--json"])
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exit_code == code, (result.output, result.exception)
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def one(model: Path, pictures: Path, out: Path, *more: object, **changes: Any) -> dict[str, Any]:
    words = {"--image": pictures / "i.png", "--idmap": pictures / "m.png", "--prompt": PROMPT} | changes
    return run("sample", model, *[part for pair in words.items() for part in pair], "--out", out, *more)


@pytest.fixture(scope="module")
def first(sampled_run: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of the run's, guided."""
    out = tmp_path_factory.mktemp("first") / "v.mp4"
    roles = ("--role", "id1=a red block", "--role", "id2=a blue block", "--role", "id1+id2=pushes")
    assert one(sampled_run, pictures, out, *roles, "--cmg", 1.5, "--cag", 1.0)["made"] == ["v"]
    return out


def test_a_video_is_made_once_and_the_same_again(first: Path, tmp_path: Path) -> None:
    assert read_mp4(first).shape == (5, 64, 96, 3)
    record = json.loads(first.with_suffix(".json").read_text())
    assert record["settings"]["cmg_blocks"] == [1, 2], "the recipe's"
    again = run("sample", "--again", first.with_suffix(".json"), "--out", tmp_path / "w.mp4")
    assert again["same"] is True
    assert (tmp_path / "w.mp4").read_bytes() == first.read_bytes()
    # As a record of other bytes.
    record["mp4_sha256"] = "0" * 64
    (tmp_path / "v.json").write_text(json.dumps(record))
    assert run("sample", "--again", tmp_path / "v.json", "--out", tmp_path / "w.mp4", code=1)["same"] is False
    for change, said in (({"image": str(tmp_path / "no.png")}, "not a readable"), ({"seed": -1}, "greater than")):
        (tmp_path / "v.json").write_text(json.dumps(record | {"job": record["job"] | change}))
        with pytest.raises(UserError, match=said):
            run("sample", "--again", tmp_path / "v.json")
    with pytest.raises(UserError, match=r"base model of .*: "):
        run("sample", "--again", first.with_suffix(".json"), "--base-path", tmp_path / "nowhere")
    (tmp_path / "v.json").write_text(json.dumps(record | {"weights": {**record["weights"], "trained": "1"}}))
    with pytest.raises(UserError, match=r"made by other weights .*: trained"):
        run("sample", "--again", tmp_path / "v.json")


@pytest.mark.parametrize("model", ["sampled_run", "other_run"])
def test_a_plain_prompt_is_guided_as_with_marks_alone_or_in_a_batch(
    model: str, pictures: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(model)
    guided = ("--cmg", 1.5, "--cag", 1.0)
    one(folder, pictures, tmp_path / "v.mp4", *guided, **{"--prompt": "A man lifts a box."})
    record = json.loads((tmp_path / "v.json").read_text())
    said = {
        ids: [record["job"]["prompt"][p["start"] : p["end"]] for p in at] for ids, at in record["job"]["roles"].items()
    }
    assert said == {"id1": ["man"], "id1+id2": ["lifts"], "id2": ["box"]}
    marked = "A <id1>man</id1> <id1+id2>lifts</id1+id2> a <id2>box</id2>."
    jobs = [
        {"name": name, "image": "i.png", "idmap": "m.png", "prompt": marked, "seed": seed}
        for name, seed in (("other", 1), ("same", 0))
    ]
    table = pictures / f"{model}.jsonl"
    table.write_text("\n".join(map(json.dumps, jobs)))
    run("sample", folder, "--table", table, "--out", tmp_path / "a", *guided, "--batch", 2, "--offload")
    videos = {path.stem: path.read_bytes() for path in (*tmp_path.glob("*.mp4"), *tmp_path.glob("a/*.mp4"))}
    assert videos["v"] == videos["same"] != videos["other"]
    assert run("sample", "--again", tmp_path / "v.json")["same"]
    one(folder, pictures, tmp_path / "plain.mp4", "--steps", 2)
    assert (tmp_path / "plain.mp4").read_bytes() != videos["v"]


def test_a_prompt_may_be_longer_than_the_model_reads_unless_guidance_wants_its_last_words(
    sampled_run: Path, pictures: Path, tmp_path: Path
) -> None:
    """A caption of a dataset cannot be made shorter by who samples its clip."""
    roles = ("--role", "id1=a red block", "--role", "id2=a blue block")
    long = {"--prompt": f"{'somewhere ' * 60}{PROMPT}"}
    result = CliRunner().invoke(cli.app, [
        "sample", str(sampled_run), "--image", str(pictures / "i.png"), "--idmap", str(pictures / "m.png"),
        *roles, "--prompt", long["--prompt"], "--out", str(tmp_path / "v.mp4"),
    ])  # fmt: skip
    assert result.exit_code == 0 and " of the prompt's " in result.output
    with pytest.raises(UserError, match="the prompt's words for id1 lie beyond its 48 tokens: shorten it"):
        one(sampled_run, pictures, tmp_path / "w.mp4", *roles, "--cmg", 1.5, **long)


def test_only_what_a_job_brings_fails_a_job() -> None:
    log = _Log(3, Console(quiet=True), alone=False)
    with log.of("large"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    with log.of("odd"):
        raise UserError("no such file")
    with pytest.raises(ZeroDivisionError), log.of("ours"):
        _ = 1 / 0
    told = "CUDA out of memory: give --offload, or fewer --frames, --height and --width"
    assert log.outcome.failed == {"large": told, "odd": "no such file"}


def test_a_clip_that_is_no_job_is_told_and_the_others_are_sampled(dataset: Path, tmp_path: Path) -> None:
    copy = tmp_path / "ds"
    shutil.copytree(dataset, copy)
    row = rows_of(copy)[0]
    long = row.caption + "!" * 5000

    def change(files: Files) -> Files:
        return edit_json(files, "json", lambda d: d.update(caption=long)) | {"txt": long.encode()}

    tamper(copy, row.key, change, caption=long)
    clips = held_out(config(copy), row.split, 2, 0, tmp_path / "first")
    assert [c for c in clips if isinstance(c, Unreadable)] == [
        Unreadable(row.key, f"prompt: it has {len(long)} characters, more than 4000")
    ]
    assert sum(isinstance(c, HeldOutClip) for c in clips) == 1


def test_order_and_batch_change_nothing_and_bad_lines_stop_nothing(
    sampled_run: Path, pictures: Path, tmp_path: Path
) -> None:
    job = {"image": "i.png", "prompt": PROMPT}
    jobs = [
        {**job, "name": "mapped", "idmap": "m.png", "seed": 1},
        {**job, "name": "boxed", "boxes": {"id1": [8, 18, 36, 52]}, "points": {"id2": [70, 30]}, "seed": 2},
        {**job, "name": "tall", "masks": {"id1": {"size": [96, 64], "counts": "0"}}},
    ]
    hostile = [
        "{", "[1]", "null", '{"a": 1}', '{"seed": NaN}', "[" * 100_000, '"' + "x" * 100, "\ufeff{}",
        json.dumps({**job, "name": "../up", "idmap": "m.png"}), json.dumps({**job, "name": "MAPPED", "idmap": "m.png"}),
        json.dumps({**job, "prompt": "a\u202eb", "idmap": "m.png"}),
        json.dumps({**job, "image": "/dev/zero", "idmap": "m.png"}),
        json.dumps({**job, "idmap": "m.png", "masks": {}}), json.dumps({**job, "boxes": {"id0": [1, 2, 3, 4]}}),
        json.dumps({**job, "boxes": {f"id{k}": [1, 1, 9, 9] for k in range(1, 7)}}),
    ]  # fmt: skip
    there, back = pictures / "jobs.jsonl", pictures / "back.jsonl"
    there.write_text("\n".join([json.dumps(j) for j in jobs] + hostile) + "\n")
    found = run("sample", sampled_run, "--table", there, "--out", tmp_path / "a", code=1)
    assert sorted(found["made"]) == ["boxed", "mapped"]
    assert len(found["failed"]) == 1 + len(hostile)
    assert "size [96, 64]" in found["failed"]["tall"]
    assert found["failed"]["line 4"] == "Invalid JSON: EOF while parsing an object at byte 1"
    assert "the model knows 5" in found["failed"][f"line {3 + len(hostile)}"]
    back.write_text("\n".join(json.dumps(j) for j in reversed(jobs[:2])))
    assert (
        run("sample", sampled_run, "--table", back, "--out", tmp_path / "b", "--batch", 2, "--offload")["failed"] == {}
    )
    for name in ("mapped", "boxed"):
        assert (tmp_path / f"a/{name}.mp4").read_bytes() == (tmp_path / f"b/{name}.mp4").read_bytes()
    # Done is done, until what makes it changes or it is damaged.
    (tmp_path / "b/boxed.mp4").write_bytes(b"")
    found = run("sample", sampled_run, "--table", back, "--out", tmp_path / "b")
    assert (found["made"], found["there"]) == (["boxed"], ["mapped"])
    back.write_text(json.dumps(jobs[0] | {"seed": 7}))
    assert run("sample", sampled_run, "--table", back, "--out", tmp_path / "b")["made"] == ["mapped"]
    assert (tmp_path / "a/mapped.mp4").read_bytes() != (tmp_path / "b/mapped.mp4").read_bytes()
    assert not list(tmp_path.rglob(".*")), "no scratch files stay"


def test_exports_make_the_same_video_as_their_run(sampled_run: Path, pictures: Path, tmp_path: Path) -> None:
    size = ("--frames", 5, "--height", 64, "--width", 96, "--steps", 1, "--guidance", 6.0)
    lora, merged = export(sampled_run, tmp_path / "lora"), merge(sampled_run, tmp_path / "merged")
    videos = []
    for model in (sampled_run, lora, merged):
        one(model, pictures, tmp_path / f"{model.name}.mp4", *size)
        videos.append(read_mp4(tmp_path / f"{model.name}.mp4").astype(int))
    assert (tmp_path / "run.mp4").read_bytes() == (tmp_path / "lora.mp4").read_bytes()
    # A merged weight is rounded once more, and H.264 makes more of that here and there.
    assert np.abs(videos[0] - videos[2]).mean() < 0.3
    wan = tmp_path / "wan"
    Wan22.make_tiny(wan, ["a red block"], (5, 64, 96), 512)
    with pytest.raises(UserError, match="trained on another base model"):
        one(lora, pictures, tmp_path / "x.mp4", *size, "--base-path", wan)


def test_held_out_clips_stand_beside_original_and_base(sampled_run: Path, dataset: Path, tmp_path: Path) -> None:
    words = ("sample", sampled_run, "--dataset", dataset, "--limit", 1, "--base", "--out", tmp_path, "--cmg", 1.0)
    found = run(*words, "--steps", 1)
    (key,) = (name for name in found["made"] if "/" not in name)
    assert found["made"] == [key, f"base/{key}"]
    assert (tmp_path / f"{key}.mp4").read_bytes() != (tmp_path / f"base/{key}.mp4").read_bytes()
    assert read_mp4(Path(found["grid"])).shape[2] > 3 * 96
    assert run(*words, "--steps", 1)["there"] == found["made"]
    # The two commands follow one another, also for the base model's videos.
    (asked,) = read_prompts(Path(found["prompts"]))
    (files,) = (files_of(dataset, row) for row in rows_of(dataset) if row.key == key)
    sample = json.loads(files["json"])
    acts = [
        (a["subject"], a["verb"], a["object"], *map(a["rating"].get, ("contact", "dynamism")))
        for a in sample["interactions"]
    ]
    assert [(a.subject, a.verb, a.object, a.contact, a.dynamism) for a in asked.interactions] == acts
    assert (asked.video, asked.prompt) == (f"{key}.mp4", sample["caption"])
    assert {(i.id, i.cls) for i in asked.instances} <= {(i["id"], i["cls"]) for i in sample["instances"]}
    shown = decode_id_map((tmp_path / str(asked.idmap)).read_bytes())
    assert np.array_equal(shown, Geometry(5, 64, 96).labels(decode_id_map(files["idmap.png"])))
    for name, videos in {"E": tmp_path, "EB": tmp_path / "base"}.items():
        assert judged(videos, found["prompts"], tmp_path / name) == [asked.video]


def judged(videos: Path, prompts: object, out: Path) -> list[str]:
    """Names of the videos of which `evaluate` made a row; these show nothing, so none may be decided."""
    try:
        run("evaluate", videos, "--prompts", prompts, "--judge", "tracks", "--out", out)
    except UserError as error:
        if not re.search("none of . videos could be judged; the first: .*: undecided", str(error)):
            raise
    return [json.loads(path.read_text())["video"] for path in sorted((out / "judged").iterdir())]


def test_a_held_out_job_is_what_training_sees(sampled_run: Path, dataset: Path, tmp_path: Path) -> None:
    model = Model(Source(path=sampled_run), torch.device("cpu"))
    config = model.recipe.data
    data = MatrixDataset(config, "val", model.tokenizer, 0)
    grid = model.plan.grid(config.frames, config.height, config.width)
    for clip in held_out(config, "val", 2, 0, tmp_path):
        row = data.rows[clip.key]
        sample = data._cut(Ref(0, 0, 0), row, data.entry(row), ())
        batch = Collate(grid.frames, grid.height, grid.width)([sample])
        picture = read_picture(clip.job, Trackers())
        image, id_map = picture.cut(Geometry.of(config))
        assert np.array_equal(image, batch.video[0, 0].permute(1, 2, 0))
        assert np.array_equal(id_map, batch.id_map[0].permute(1, 2, 0))
        assert clip.job.prompt == sample.prompt
        first = batch.masks[0, 0, :1].bool().numpy()
        cells = region(first, Geometry.of(config), grid).view(grid.frames, -1)
        assert cells[0].any() == first.any()
        assert not cells[1:].any(), "known of the first frame alone"


@pytest.mark.production
@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("recipe", ["tiny", "tiny_wan21", "tiny_wan22"])
def test_compiled_blocks_make_nearly_the_same_video(recipe: str, dataset: Path, pictures: Path, tmp_path: Path) -> None:
    model = drawn_run(dataset, tmp_path / "run", recipe)
    roles = ("--role", "id1=a red block", "--role", "id2=a blue block")
    for name, more in (("plain", ()), ("compiled", ("--compile",))):
        one(model, pictures, tmp_path / f"{name}.mp4", *roles, "--cmg", 1.5, "--cmg-block", 1, *more)
    plain, compiled = (read_mp4(tmp_path / f"{name}.mp4").astype(int) for name in ("plain", "compiled"))
    assert np.abs(plain - compiled).mean() < 1


@pytest.mark.parametrize("model", ["sampled_run", "other_run"])
def test_a_small_video_is_the_same_decoded_whole_or_in_tiles(
    model: str, pictures: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Smaller than a tile, so there is one. Of more, see `test_encoders.py`."""
    for name, more in (("tiles", ()), ("whole", ("--no-tiling",))):
        one(request.getfixturevalue(model), pictures, tmp_path / f"{name}.mp4", "--steps", 1, *more)
    tiles, whole = (read_mp4(tmp_path / f"{name}.mp4").astype(int) for name in ("tiles", "whole"))
    assert np.abs(tiles - whole).mean() < 1


def test_tiles_that_do_not_join_to_the_size_are_told(sampled_run: Path, pictures: Path, tmp_path: Path) -> None:
    """Those of a tiny model overlap unevenly where a video is larger than one."""
    larger = ("--height", 128, "--width", 192, "--frames", 5, "--steps", 1)
    with pytest.raises(UserError, match=r"tiles join to \d+x\d+ pixels at this size: give --no-tiling"):
        one(sampled_run, pictures, tmp_path / "v.mp4", *larger)
    one(sampled_run, pictures, tmp_path / "v.mp4", *larger, "--no-tiling")
    assert read_mp4(tmp_path / "v.mp4").shape == (5, 128, 192, 3)
