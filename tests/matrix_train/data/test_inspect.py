"""The look at a batch shows what the batch holds."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from matrix_train.attention.prompts import encode
from matrix_train.data import open_stream
from matrix_train.data.inspect import coloured, inspect, make_sheet
from matrix_train.data.sheet import draw_sheet
from matrix_train.errors import UserError
from schemas import RoleSpans, Span
from schemas.palette import colour
from tasks.shard.stage import ShardSettings
from tasks.store.folder import Folder
from tests.builders import make_case, make_dataset
from tests.matrix_train.data.shards import FRAMES, GRID, HEIGHT, WIDTH, config, tamper


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("inspected")
    store = Folder(str(root / "work"))
    cases = [make_case(store, seed=i, things=3, frames=FRAMES, height=HEIGHT, width=WIDTH) for i in range(6)]
    make_dataset(root, cases, ShardSettings(val_share=0, max_samples=3))
    return root / "dataset"


def look(folder, tokenizer, out, **changes):
    console = Console(file=io.StringIO(), width=200)
    found = inspect(config(folder, **changes), "train", tokenizer, GRID, out, batches=2, batch_size=2, console=console)
    return found, console.file.getvalue()


def test_it_prints_and_draws_every_sample(folder, tokenizer, tmp_path) -> None:
    found, text = look(folder, tokenizer, tmp_path / "out")
    assert (found.samples, found.aligned, found.bad) == (4, 4, {})
    assert f"2 × {FRAMES} × 3 × {HEIGHT} × {WIDTH}" in text
    assert "roles.video.weight" in text
    assert sorted(found.sheets) == sorted((tmp_path / "out").iterdir())
    assert len(found.sheets) == 4 * 3  # one for each interaction
    for path in found.sheets:
        with Image.open(path) as image:
            assert image.format == "PNG"


def test_bad_entries_and_skips_are_counted(folder, tokenizer, tmp_path) -> None:
    with open_stream(config(folder), "train", tokenizer, GRID) as stream:
        key = stream.plan.order(0)[0]
    copied = shutil.copytree(folder, tmp_path / "dataset")
    tamper(copied, key, lambda files: {**files, "mp4": b""})
    found, text = look(copied, tokenizer, tmp_path / "out", max_tokens=8)
    assert found.bad == {"broken_video": 1}
    assert found.aligned == 0
    assert found.skips["truncated"] == 12
    assert f"{key}: broken_video" in text
    assert "no grounding" in text


def test_the_picture_has_the_masks_in_their_colours(folder, tokenizer) -> None:
    with open_stream(config(folder), "train", tokenizer, GRID, 2) as stream:
        sheet = make_sheet(next(stream), 0, 1, stream, GRID)
    assert set(sheet.masks) == {"id1", "id2", "id3", "id4"}
    assert list(sheet.masks)[:2] == [sheet.ids["subject"], sheet.ids["object"]]
    pixels = {tuple(p) for p in np.asarray(draw_sheet(sheet)).reshape(-1, 3)[::3].tolist()}
    assert {colour(name) for name in sheet.ids.values()} <= pixels


def test_colours_come_from_tokens_not_from_spans(tokenizer) -> None:
    """A span of half a token colours the whole token, and a blank only within a role."""
    caption = "A man is lifting the box up"
    spans = RoleSpans(
        subject=(Span(start=0, end=5),),
        verb=(Span(start=9, end=13), Span(start=25, end=27)),
        object=(Span(start=17, end=24),),
    )
    tokens = encode(tokenizer, caption, [spans]).interactions[0]
    stretches = coloured(tokenizer, caption, dict(zip(("subject", "verb", "object"), tokens.sets(), strict=True)), 226)
    assert "".join(s.text for s in stretches) == caption
    said = {role: [s.text for s in stretches if role in s.roles] for role in ("subject", "verb", "object")}
    assert said["subject"] == ["A man"]
    assert said["object"] == ["the box"]
    assert said["verb"][0].startswith("lift")
    assert said["verb"][-1] == "up"
    assert not any(s.cut for s in stretches)


def test_what_is_cut_off_is_marked(tokenizer) -> None:
    caption = "A man lifts the box. " + "box " * 20
    stretches = coloured(tokenizer, caption, {}, 16)
    assert [s.cut for s in stretches] == [False, True]


def test_a_folder_that_cannot_be_written_is_said(folder, tokenizer, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        look(folder, tokenizer, tmp_path / "file" / "out")
