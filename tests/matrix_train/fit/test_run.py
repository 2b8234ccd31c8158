"""The run as a whole: what is trained, what is written, what stops it; and that without alignment it is plain LoRA."""

import io
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import CogVideoXTransformer3DModel
from peft import LoraConfig
from rich.console import Console
from safetensors.torch import load_file

from matrix_train.backbones import CogVideoX
from matrix_train.errors import UserError
from matrix_train.fit.checkpoint import checkpoints
from matrix_train.fit.distributed import make_accelerator
from matrix_train.fit.inputs import Draw, prepare
from matrix_train.fit.run import Run
from matrix_train.fit.schedule import cosine_with_warmup
from matrix_train.plan.cost import step_cost
from tests.matrix_train.data.shards import rows_of, tamper
from tests.matrix_train.fitting import metrics, small_config, start

GOLDEN: dict[str, dict[str, tuple[float, ...]]] = {
    "softmax": {
        "diffusion": (1.37591, 1.49902, 1.41938),
        "sga": (14.25588, 14.05489, 13.20201),
        "spa": (9.06650, 8.79391, 8.71370),
    },
    "centred": {
        "diffusion": (1.37591, 1.49879, 1.41990),
        "sga": (9.99732, 9.80500, 8.89160),
        "spa": (6.41615, 6.05100, 5.55532),
    },
}
"""Losses of the first three steps of a small run, PyTorch 2.15 on a CPU. They change only where the maths does, or the
clips, or the tiny model: then say which, and write the new ones here. The last change was of the maths: all
interactions of a clip are supervised, a dropped caption keeps SPA, each block has a level of its own, and the recipe's
are calibrated."""


def test_a_run_trains_exactly_what_it_says_and_writes_it_down(dataset: Path, tmp_path: Path) -> None:
    config = small_config(
        dataset, tmp_path / "run", "validation.every=3", "validation.clips=2", "validation.videos=1",
        "validation.video_every=6", "validation.sampling_steps=2", 'log.to=["tensorboard"]', "checkpoint.keep=2",
    )  # fmt: skip
    run = start(config)
    before = {name: value.detach().clone() for name, value in run.parts.model.named_parameters()}
    names = run.parts.trainable().keys()
    result = run.train()
    changed = {n for n, value in run.parts.model.named_parameters() if not torch.equal(value, before[n])}
    # A LoRA's A moves one step after its B has left zero; with six steps all have.
    assert changed == names
    assert {kind.split(".")[0] for kind in names} == {"backbone", "decoders"}
    assert result.step == 6
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["step-00000004", "step-00000006"]
    saved = load_file(checkpoints(tmp_path / "run")[-1] / "trainable.safetensors")
    assert saved.keys() == names
    lines = metrics(tmp_path / "run")
    assert [line["step"] for line in lines] == [0, 1, 2, 3, 3, 4, 5, 6, 6]
    for line in (line for line in lines if "loss" in line):
        weighted = line["sga.weighted"] + line["spa.weighted"]
        assert line["loss"] == pytest.approx(line["diffusion"] + weighted, rel=1e-5)
        assert line["sga"] == pytest.approx(sum(line[f"sga.{part}"] for part in ("bce", "dice", "l2")), rel=1e-5)
        assert line["sga.gain"] > 0
    assert {"val.sga.aas", "val.spa.aas", "val.sga.iou", "val.sga.correlation"} <= result.validation.keys()
    for block in ("sga.1", "sga.2", "spa.3"):
        assert result.validation[f"val.{block}.inside.spread"] > 0
        assert {f"val.{block}.inside.mean", f"val.{block}.outside.mean"} <= result.validation.keys()
    alignment, diffusion = (result.validation[f"val.gradient.{part}"] for part in ("alignment", "diffusion"))
    assert result.validation["val.gradient.ratio"] == alignment / diffusion > 0
    assert result.validation["val.samples.saturation.of_first"] > 0
    assert lines[1]["share.sga"] == 1.0
    videos = sorted(path.relative_to(tmp_path / "run/samples").parts[0] for path in (tmp_path / "run").rglob("*.mp4"))
    assert videos == ["step-00000000", "step-00000006"]
    assert list((tmp_path / "run/tensorboard").iterdir())


@pytest.mark.filterwarnings(r"ignore:The \.grad attribute of a Tensor that is not a leaf")
@pytest.mark.production
@pytest.mark.long
@pytest.mark.slow
def test_what_neither_training_nor_validation_taps_is_compiled_on_wish(dataset: Path, tmp_path: Path) -> None:
    """By the compiler that a user gets. SPA is off in this run, but validation measures its block all the same."""
    common = (
        "align.sga_blocks=[1]", "align.spa_blocks=[3]", "align.spa=0", "lora.blocks=[1]", "train.steps=2",
        "model.checkpointing=selective", "validation.every=2", "validation.clips=1", "validation.videos=0",
    )  # fmt: skip
    eager = small_config(dataset, tmp_path / "eager", *common)
    start(eager).train()
    compiled = small_config(dataset, tmp_path / "compiled", *common, "model.compile=true")
    run = start(compiled)
    blocks = run.parts.backbone.model.transformer_blocks
    assert ["forward" in vars(block) for block in blocks] == [True, False, True, False]
    run.train()
    for one, other in zip(metrics(tmp_path / "eager"), metrics(tmp_path / "compiled"), strict=True):
        assert other == pytest.approx(one, rel=1e-3, abs=1e-5)
    assert step_cost(compiled) == step_cost(eager)
    torch._dynamo.reset()


@pytest.mark.parametrize("mode", GOLDEN)
def test_the_losses_are_those_on_record(dataset: Path, tmp_path: Path, mode: str) -> None:
    """With the tiny configuration's maps, and with those of the 5B recipe."""
    centred = ("align.attention_map=centred", "align.prior=0.05", "align.calibrate=true")
    recipe = centred if mode == "centred" else ()
    start(small_config(dataset, tmp_path / "run", "train.steps=3", *recipe)).train()
    found = {name: tuple(line[name] for line in metrics(tmp_path / "run")) for name in GOLDEN[mode]}
    assert found == {name: pytest.approx(values, rel=2e-3) for name, values in GOLDEN[mode].items()}


def test_without_alignment_it_is_plain_lora_training_bit_for_bit(dataset: Path, tmp_path: Path) -> None:
    config = small_config(dataset, tmp_path / "run", "align.sga=0", "align.spa=0", "train.steps=3")
    run = start(config)
    plain, adapter = _plain_lora(config.model.path, config.lora.blocks, config.lora.rank, config.lora.alpha)
    for name, value in run.parts.backbone.trainable().items():
        adapter[name].data.copy_(value)
    groups = [
        {"params": [p for p in adapter.values() if (p.ndim > 1) == decayed], "weight_decay": 1e-4 if decayed else 0.0}
        for decayed in (True, False)
    ]
    optimizer = torch.optim.AdamW(groups, lr=config.optim.lr, betas=config.optim.betas, eps=config.optim.eps)
    alphas = run.parts.encoders.scheduler.alphas_cumprod
    stream = run._open_stream("train")
    for step in range(3):
        batch = next(stream)
        draw = Draw(config.train.seed, "train", config.train.caption_dropout)
        x = prepare(batch, run.parts.encoders, run.parts.grid, 4, draw, torch.device("cpu"))
        alpha = alphas[x.timesteps].float().view(-1, 1, 1, 1, 1)
        noisy = alpha.sqrt() * x.clean + (1 - alpha).sqrt() * x.noise
        out = plain(
            hidden_states=torch.cat([noisy, x.conditions["frames"]], dim=2),
            encoder_hidden_states=x.conditions["prompt"],
            timestep=x.timesteps, image_rotary_emb=run.parts.backbone._rotary_tables(3, 4, 6, x.clean.device),
            return_dict=False,
        )[0]  # fmt: skip
        estimate = alpha.sqrt() * noisy - (1 - alpha).sqrt() * out
        loss = ((estimate - x.clean).square() / (1 - alpha)).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(adapter.values(), config.optim.clip)
        for group in optimizer.param_groups:
            group["lr"] = config.optim.lr * cosine_with_warmup(step, 3, config.optim.warmup)
        optimizer.step()
        optimizer.zero_grad()
    run.train()
    for name, value in run.parts.backbone.trainable().items():
        assert torch.equal(value, adapter[name]), name


def _plain_lora(
    path: str, blocks: tuple[int, ...], rank: int, alpha: int
) -> tuple[CogVideoXTransformer3DModel, dict[str, torch.nn.Parameter]]:
    """diffusers' own model and processors with peft's own LoRA, and a wider input projection."""
    model = CogVideoXTransformer3DModel.from_pretrained(path, subfolder="transformer").requires_grad_(False)
    CogVideoX.grow_input(model)
    where = "|".join(map(str, blocks))
    target = rf"transformer_blocks\.({where})\.attn1\.(to_q|to_k|to_v|to_out\.0)"
    model.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=target))
    model.patch_embed.proj.requires_grad_(True)
    return model, {name: p for name, p in model.named_parameters() if p.requires_grad}


def test_a_run_is_not_overwritten(dataset: Path, tmp_path: Path) -> None:
    config = small_config(dataset, tmp_path / "run", "train.steps=2")
    start(config).train()
    with pytest.raises(UserError, match="holds a run: go on with it by --resume auto"):
        start(config)


def test_a_continuation_with_other_settings_is_refused(dataset: Path, tmp_path: Path) -> None:
    start(small_config(dataset, tmp_path / "run", "train.steps=2")).train()
    other = small_config(dataset, tmp_path / "run", "train.steps=2", "optim.lr=0.5", "log.every=7")
    before = (tmp_path / "run/config.yaml").read_text()
    with pytest.raises(UserError, match=r"cannot resume: optim\.lr was 0\.002, is 0\.5: set it back"):
        start(other, resume=True)
    assert (tmp_path / "run/config.yaml").read_text() == before


def test_a_finished_run_can_be_made_longer_and_not_shorter(dataset: Path, tmp_path: Path) -> None:
    start(small_config(dataset, tmp_path / "run", "train.steps=2")).train()
    assert start(small_config(dataset, tmp_path / "run", "train.steps=3"), resume=True).train().step == 3
    with pytest.raises(UserError, match=r"train\.steps is 1, but the run stands at step 3 already"):
        start(small_config(dataset, tmp_path / "run", "train.steps=1"), resume=True)


def test_deterministic_operators_train_the_same_on_a_cpu(dataset: Path, tmp_path: Path) -> None:
    """Files and all: two runs of one configuration leave the same bytes."""
    for name, wanted in (("one", "true"), ("two", "true"), ("plain", "false")):
        start(small_config(dataset, tmp_path / name, "train.steps=1", f"train.deterministic={wanted}")).train()
        assert torch.are_deterministic_algorithms_enabled() == (wanted == "true")
        assert torch.backends.cudnn.deterministic == (wanted == "true")
    for name in ("trainable.safetensors", "optimizer.safetensors"):
        files = {(checkpoints(tmp_path / run)[-1] / name).read_bytes() for run in ("one", "two", "plain")}
        assert len(files) == 1


def test_a_moved_data_set_and_another_limit_for_bad_entries_are_the_same_run(dataset: Path, tmp_path: Path) -> None:
    start(small_config(dataset, tmp_path / "run", "train.steps=2")).train()
    config = small_config(dataset, tmp_path / "run", "train.steps=2", "data.max_bad_share=0.5")
    moved = shutil.copytree(dataset, tmp_path / "moved")
    elsewhere = config.model_copy(update={"data": config.data.model_copy(update={"dataset": str(moved)})})
    assert start(elsewhere, resume=True).train().losses == start(config, resume=True).train().losses != {}
    row = rows_of(moved)[0]
    tamper(moved, row.key, lambda files: {**files, "txt": files["txt"] + b" "})
    with pytest.raises(UserError, match="has changed since the checkpoint was written"):
        start(elsewhere, resume=True)


def test_bad_entries_are_named_as_soon_as_numbers_are_written(dataset: Path, tmp_path: Path) -> None:
    hurt = Path(shutil.copytree(dataset, tmp_path / "hurt"))
    for row in rows_of(hurt)[:2]:
        tamper(hurt, row.key, lambda files: {**files, "mp4": b"cut"})
    said = io.StringIO()
    config = small_config(dataset, tmp_path / "run", f"data.dataset={hurt}", "data.max_bad_share=0.9")
    Run(config, make_accelerator(config), Console(file=said, width=400)).start(resume=False).train()
    named = [line for line in said.getvalue().splitlines() if "left out" in line]
    assert len(named) == metrics(tmp_path / "run")[-1]["bad.broken_video"] == 2
    for row in rows_of(hurt)[:2]:
        assert sum(f"left out: {row.shard}: {row.key}: broken_video: " in line for line in named) == 1


def test_a_damaged_checkpoint_is_named(dataset: Path, tmp_path: Path) -> None:
    config = small_config(dataset, tmp_path / "run", "train.steps=2")
    start(config).train()
    last = checkpoints(tmp_path / "run")[-1]
    shutil.copy(last / "trainable.safetensors", last / "optimizer.safetensors")
    with pytest.raises(UserError, match=r"the checkpoint trains other parameters than this run"):
        start(config, resume=True)
    (last / "optimizer.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match=r"step-00000002 is damaged: delete it to resume from the one before"):
        start(config, resume=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("lora.blocks=[1, 9]", "block 9 does not exist: this model has blocks 0 to 3"),
        ("align.spa_blocks=[6]", "block 6 does not exist"),
        ("data.max_tokens=60", "takes prompts of 48 tokens"),
        ("data.height=72", "data.height and data.width must be divisible by 16"),
        ("data.frames=10", "data.frames must be 1 more than a multiple of 4, got 10"),
        ("model.attention=cudnn", "model.attention=cudnn: no such kernel for float32 on this cpu: set it to auto"),
        ("train.cache=nowhere", "no cache in nowhere"),
    ],
)
def test_what_does_not_fit_is_said_before_a_model_is_loaded(
    dataset: Path, tmp_path: Path, change: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(dataset, tmp_path / "run", change)
    monkeypatch.setattr("matrix_train.fit.run.assemble", lambda *_: pytest.fail("it is loaded"))
    with pytest.raises(UserError, match=words):
        start(config)
