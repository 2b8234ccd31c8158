"""Runs of every backbone but the one that all other tests are of: trained, stopped, resumed, sampled, exported."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from rich.console import Console

from matrix_train.backbones import BACKBONES, register
from matrix_train.config import Config, load_config
from matrix_train.errors import UserError
from matrix_train.export.export import LORA_FILE, check_comfy_keys, export
from matrix_train.fit.assembly import make_random_model
from matrix_train.fit.cache import LatentCache
from matrix_train.fit.checkpoint import checkpoints
from matrix_train.fit.distributed import make_accelerator
from matrix_train.fit.precompute import cache_key, entry_bytes, precompute
from matrix_train.plan.cost import step_cost
from tests.matrix_train.fitting import TINY, metrics, settings, start
from tests.matrix_train.toy import Toy

TOY = (
    "model.make_random=toy", "train.image_noise=false", "lora.blocks=[0, 1]", "align.sga_blocks=[0]",
    "align.spa_blocks=[1]",
)  # fmt: skip


@pytest.fixture(autouse=True)
def toy() -> Iterator[None]:
    """By the public way in; nothing of the trainer names it."""
    register(Toy)
    yield
    del BACKBONES[Toy.name]


def config_of(name: str, dataset: Path, out: Path, *more: str) -> Config:
    file, own = (TINY, TOY) if name == "toy" else (TINY.with_name(f"tiny_{name}.yaml"), ())
    config = load_config(file, [*settings(dataset, out), f"model.path={dataset.parent / name}", *own, *more])
    make_random_model(config)
    return config


@pytest.mark.parametrize(("name", "precision"), [("wan21", "bf16"), ("wan22", "fp32"), ("toy", "fp32")])
def test_it_trains_resumes_exactly_and_is_exported(dataset: Path, tmp_path: Path, name: str, precision: str) -> None:
    """Stopped after step 2 of 4, it goes on to the same bytes; held-out clips are measured and sampled."""
    common = (
        "train.steps=4", "validation.every=4", "validation.video_every=4", "validation.clips=1", "validation.videos=1",
        "validation.sampling_steps=2", "align.attention_map=centred", "align.calibrate=true", "train.batch_size=1",
        "model.checkpointing=selective", f"model.precision={precision}",
    )  # fmt: skip
    calm, hurt = tmp_path / "calm", tmp_path / "hurt"
    run = start(config_of(name, dataset, calm, *common))
    before = {n: value.detach().clone() for n, value in run.parts.model.named_parameters()}
    trainable = run.parts.trainable().keys()
    result = run.train()
    assert {n for n, v in run.parts.model.named_parameters() if not torch.equal(v, before[n])} == trainable
    assert result.losses["sga"] > 0 < result.losses["spa"]
    assert result.validation["val.sga.aas"] > 0
    assert len(list(calm.rglob("*.mp4"))) == 2
    shutil.copytree(calm, hurt)
    shutil.rmtree(checkpoints(hurt)[-1])
    start(config_of(name, dataset, hurt, *common), resume=True).train()
    assert metrics(hurt) == metrics(calm)
    for file in ("trainable.safetensors", "optimizer.safetensors"):
        one, other = ((checkpoints(run)[-1] / file).read_bytes() for run in (hurt, calm))
        assert one == other
    exported = export(hurt, tmp_path / "exported")
    assert json.loads((exported / "export.json").read_text())["backbone"] == name
    assert check_comfy_keys(exported / LORA_FILE, BACKBONES[name]) == []


def test_from_a_cache_it_trains_the_same_without_any_encoder_but_the_vae(dataset: Path, tmp_path: Path) -> None:
    """The first frame, which gets no noise, is kept too: a step encodes nothing."""
    config = config_of("wan21", dataset, tmp_path / "cached", f"train.cache={tmp_path / 'cache'}", "train.steps=2")
    assert precompute(config, make_accelerator(config), Console(quiet=True)) == 12
    clip = next(file for file in (tmp_path / "cache").glob("*.safetensors") if file.stem != "empty")
    assert entry_bytes(config) == pytest.approx(clip.stat().st_size, rel=0.05)
    assert step_cost(config).encoding == 0
    run = start(config)
    assert run.parts.encoders.readers == {}
    run.train()
    start(config_of("wan21", dataset, tmp_path / "plain", "train.steps=2")).train()
    for one, other in zip(metrics(tmp_path / "cached"), metrics(tmp_path / "plain"), strict=True):
        # One clip is encoded at a time there, two here: convolutions may add in another order.
        assert one == pytest.approx(other, rel=1e-3, abs=1e-4)
    key = cache_key(config)
    assert set(key.networks) == {"vae", "text_encoder", "image_encoder"}
    other_key = key.model_copy(update={"networks": key.networks | {"image_encoder": "another"}})
    with pytest.raises(UserError, match=r"is stale: image_encoder was .*, is another"):
        LatentCache(tmp_path / "cache", other_key)


def test_what_does_not_fit_a_model_is_said(dataset: Path, tmp_path: Path) -> None:
    for change, words in {
        "train.image_noise=true": "made without noise on its first frame: set train.image_noise=false",
        "data.width=80": "must be divisible by 32, got 64×80",
        "data.max_tokens=48": "takes prompts of 512 tokens",
        "align.sga_direction=t2v": "no attention of wan22 reads t2v",
    }.items():
        with pytest.raises(UserError, match=words):
            start(config_of("wan22", dataset, tmp_path / "run", change))
