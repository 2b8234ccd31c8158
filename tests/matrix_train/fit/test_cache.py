"""Precomputed latents and text: the same training as without, and stale ones are refused by name."""

import hashlib
import io
import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console

from matrix_train.backbones import CogVideoX
from matrix_train.config import Config
from matrix_train.errors import UserError
from matrix_train.fit.cache import LatentCache
from matrix_train.fit.distributed import make_accelerator
from matrix_train.fit.precompute import cache_key, entry_bytes, looked_into, precompute, ready_cache
from matrix_train.fit.run import Run
from tasks.store.folder import Folder
from tests.labels import write_labels
from tests.matrix_train.data.shards import Files, files_of, rows_of, tamper
from tests.matrix_train.fitting import metrics, small_config, start


def fill(config: Config) -> int:
    return precompute(config, make_accelerator(config), Console(quiet=True))


@pytest.fixture
def cached(dataset: Path, tmp_path: Path) -> Config:
    config = small_config(dataset, tmp_path / "cached", f"train.cache={tmp_path / 'cache'}", "train.steps=3")
    assert fill(config) == 12
    return config


def test_training_is_the_same_with_and_without(cached: Config, dataset: Path, tmp_path: Path) -> None:
    start(cached).train()
    start(small_config(dataset, tmp_path / "plain", "train.steps=3", "train.caption_dropout=0.1")).train()
    for one, other in zip(metrics(tmp_path / "cached"), metrics(tmp_path / "plain"), strict=True):
        assert one.keys() == other.keys()
        # One clip is encoded at a time there, two here: convolutions may add in another order.
        assert one == pytest.approx(other, rel=1e-4, abs=1e-5)


def test_with_cached_prompts_videos_are_sampled_and_no_text_encoder_is_loaded(cached: Config) -> None:
    sampled = cached.validation.model_copy(update={"every": 3, "clips": 1, "videos": 1, "sampling_steps": 1})
    run = start(cached.model_copy(update={"validation": sampled}))
    assert run.parts.encoders.readers == {}
    run.train()
    assert len(list(run.path.rglob("*.mp4"))) == 2


def test_a_cache_is_filled_before_training_or_it_is_said_why_not(dataset: Path, tmp_path: Path) -> None:
    def ready(folder: Path) -> tuple[str | None, str]:
        config = small_config(dataset, tmp_path / "run", f"train.cache={folder}")
        said = io.StringIO()
        found = ready_cache(config, make_accelerator(config), Console(file=said, width=400))
        # A bar for each split comes before.
        return found.train.cache, "".join(said.getvalue().splitlines(keepends=True)[-1:])

    folder = tmp_path / "cache"
    assert ready(folder) == (str(folder), f"encoded 12 clips into {folder}, once for all runs\n")
    assert ready(folder) == (str(folder), "")
    (tmp_path / "file").write_text("")
    for blocked, why in (
        (tmp_path / "file/cache", f"it cannot be made ({tmp_path / 'file'} is no folder)"),
        (Path("/proc/cache"), "/proc cannot be written"),  # even by a user who may write anything
    ):
        assert ready(blocked) == (None, f"note: no cache in {blocked}: {why}; every step encodes its clips\n")


def test_looking_into_a_cache_makes_nothing(cached: Config, dataset: Path, tmp_path: Path) -> None:
    """As `--dry-run` does, which plans the filling too."""

    def look(folder: Path) -> tuple[str | None, int]:
        config = small_config(dataset, tmp_path / "run", f"train.cache={folder}")
        found, lacking = looked_into(config, make_accelerator(config), Console(quiet=True))
        return found.train.cache, lacking

    assert look(Path(cached.train.cache or "")) == (cached.train.cache, 0)
    assert look(tmp_path / "no/such") == (str(tmp_path / "no/such"), 12)
    assert not (tmp_path / "no").exists()
    (tmp_path / "file").write_text("")
    assert look(tmp_path / "file/cache") == (None, 0)


def test_nothing_is_encoded_before_what_is_wrong_is_told(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(small_config(dataset, tmp_path / "run", "train.steps=1")).train()
    monkeypatch.setattr("matrix_train.fit.precompute.precompute", lambda *_: pytest.fail("it encodes first"))
    for out, resume, change, words in (
        ("run", False, "train.steps=1", "holds a run"),
        ("run", True, "optim.lr=0.5", r"cannot resume: optim\.lr was"),
        ("new", False, "model.attention=cudnn", "no such kernel for float32 on this cpu"),
    ):
        config = small_config(dataset, tmp_path / out, f"train.cache={tmp_path / 'cache'}", change)
        with pytest.raises(UserError, match=words):
            Run(config, make_accelerator(config), Console(quiet=True)).start(resume, fill=True)


def test_a_clip_too_large_to_encode_is_one_line(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total")

    config = small_config(dataset, tmp_path / "run", f"train.cache={tmp_path / 'cache'}")
    monkeypatch.setattr(CogVideoX.encoders, "encode", full)
    with pytest.raises(UserError, match=r"^CUDA out of memory while train\.cache is filled: fill it on a larger GPU"):
        fill(config)


def test_room_on_the_disk_is_looked_at(cached: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Path(cached.train.cache or "") / "empty.safetensors"
    clips = sorted(set(held.parent.glob("*.safetensors")) - {held})
    assert entry_bytes(cached) == pytest.approx(clips[0].stat().st_size, rel=0.05)
    clips[0].unlink()
    usage = shutil.disk_usage(held)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    said = io.StringIO()
    config = ready_cache(cached, make_accelerator(cached), Console(file=said, width=400))
    assert config.train.cache is None
    assert "1 clips take 0.0 GB and 0.0 GB are free; every step encodes its clips" in said.getvalue()


def test_a_cache_that_was_stopped_goes_on(cached: Config) -> None:
    assert fill(cached) == 0
    removed = sorted(Path(cached.train.cache or "").glob("[0-9a-f]*.safetensors"))[:2]
    for path in removed:
        path.unlink()
    assert fill(cached) == 2


def test_another_geometry_is_named(cached: Config) -> None:
    other = cached.model_copy(update={"data": cached.data.model_copy(update={"height": 80})})
    with pytest.raises(UserError, match="is stale: height was 64, is 80: precompute into another folder"):
        LatentCache(Path(other.train.cache or ""), cache_key(other))


def test_another_vae_is_named(cached: Config) -> None:
    key = cache_key(cached)
    key = key.model_copy(update={"networks": key.networks | {"vae": "other"}})
    with pytest.raises(UserError, match=r"is stale: vae was \w+, is other"):
        LatentCache(Path(cached.train.cache or ""), key)


def test_a_missing_or_damaged_entry_is_named(cached: Config) -> None:
    paths = sorted(Path(cached.train.cache or "").glob("[0-9a-f]*.safetensors"))
    for path in paths:
        path.write_bytes(b"cut")
    with pytest.raises(UserError, match="is damaged: delete the file and precompute again"):
        start(cached).train()
    for path in paths:
        path.unlink()
    with pytest.raises(UserError, match="lacks clip"):
        start(
            cached.model_copy(update={"train": cached.train.model_copy(update={"out": cached.train.out + "2"})})
        ).train()


def test_an_entry_of_another_clip_is_refused(cached: Config) -> None:
    paths = sorted(Path(cached.train.cache or "").glob("[0-9a-f]*.safetensors"))
    content = paths[0].read_bytes()
    for path in paths[1:]:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"is stale: the clip has another .*video.*id_map"):
        start(cached).train()


def test_a_clip_with_another_video_under_the_same_key_is_refused_and_made_anew(
    cached: Config, dataset: Path, tmp_path: Path
) -> None:
    """All of the video counts, not its first frame: an empty box at the mp4's end changes no picture."""
    changed = Path(shutil.copytree(dataset, tmp_path / "changed"))

    def longer(files: Files) -> Files:
        return {**files, "mp4": files["mp4"] + b"\x00\x00\x00\x08free"}

    for row in rows_of(changed):
        digest = hashlib.sha256(longer(files_of(changed, row))["mp4"]).hexdigest()
        tamper(
            changed, row.key,
            lambda files, old=row.media_digest, new=digest: {
                **longer(files), "json": files["json"].replace(old.encode(), new.encode())
            },
            media_digest=digest, source_digest=digest,
        )  # fmt: skip
    other = cached.model_copy(
        update={
            "data": cached.data.model_copy(update={"dataset": str(changed)}),
            "train": cached.train.model_copy(update={"out": str(tmp_path / "other"), "steps": 1}),
        }
    )
    with pytest.raises(UserError, match="is stale: the clip has another video: delete the file and precompute again"):
        start(other).train()
    assert fill(other) == 12 and fill(other) == 0
    shutil.rmtree(tmp_path / "other")
    assert start(other).train().step == 1


def test_a_clip_that_people_mended_since_is_made_anew_and_no_other(
    cached: Config, dataset: Path, tmp_path: Path
) -> None:
    reviewed = Path(shutil.copytree(dataset, tmp_path / "reviewed"))
    key = rows_of(reviewed)[0].key
    write_labels(Folder(str(reviewed)), {key: {"id1": "fix"}})
    config = cached.model_copy(update={"data": cached.data.model_copy(update={"dataset": str(reviewed)})})
    assert fill(config) == 1 and fill(config) == 0
    assert start(config).train().step == 3
