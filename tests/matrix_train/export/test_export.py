"""What a run hands on: the same update in a fresh process, the same output, at training's strength exactly once."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import matrix_train
from matrix_train.align.decoder import MapDecoder
from matrix_train.backbones import Backbone, CogVideoX, trainable_parameters
from matrix_train.errors import UserError
from matrix_train.export import export as module
from matrix_train.export.export import LORA_FILE, PROJECTION_FILE, check_comfy_keys, export, load_into, merge
from matrix_train.export.trained import find_checkpoint, latest_checkpoint, read_trained
from matrix_train.fit.checkpoint import TRAINABLE_FILE
from tests.matrix_train.backbones.models import KINDS, batch, made, stock
from tests.matrix_train.components import stock_pipeline

RANK, ALPHA, BLOCKS = 8, 4, (0, 2)
TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
MODULES = [f"transformer_blocks.{b}.attn1.{t}" for b in BLOCKS for t in TARGETS]
WAN_MODULES = [f"blocks.{b}.{a}.{t}" for b in BLOCKS for a in ("attn1", "attn2") for t in TARGETS]
FLAVOURS = ["5b-i2v", "1.5-i2v", "wan21", "wan22"]


def modules_of(flavour: str) -> list[str]:
    return WAN_MODULES if flavour.startswith("wan") else MODULES


def trained_backbone(flavour: str, seed: int = 5) -> Backbone:
    backbone = made(flavour)
    backbone.add_lora(BLOCKS, RANK, ALPHA)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in backbone.trainable().values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return backbone


def write_checkpoint(backbone: Backbone, folder: Path) -> None:
    """As the trainer does."""
    folder.mkdir(parents=True)
    parameters = trainable_parameters(backbone, {"sga": MapDecoder(), "spa": MapDecoder()})
    save_file(
        {name: parameter.detach().float().contiguous() for name, parameter in parameters.items()},
        folder / TRAINABLE_FILE,
        {"rank": json.dumps(RANK), "alpha": json.dumps(ALPHA), "blocks": json.dumps(BLOCKS), "backbone": backbone.name},
    )


def make_run(folder: Path, flavour: str = "5b-i2v") -> tuple[Path, Backbone]:
    """A run folder with a base model beside it, and the model as training left it."""
    base = folder / "base"
    stock(flavour).save_pretrained(base / "transformer")
    run, backbone = folder / "run", trained_backbone(flavour)
    write_checkpoint(trained_backbone(flavour, seed=6), run / "checkpoints" / "step-00000020")
    write_checkpoint(backbone, run / "checkpoints" / "step-00000100")
    (run / "config.yaml").write_text(f"model: {{path: {base}, revision: null, precision: fp32}}\n")
    return run, backbone


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Backbone]:
    return make_run(tmp_path_factory.mktemp("export"))


@pytest.fixture(scope="module")
def exported(run) -> Path:
    return export(run[0], run[0].parent / "exported")


def updates(backbone: Backbone, modules: list[str] = MODULES) -> dict[str, Tensor]:
    """ΔW = α/r · B A of training, by module."""
    layers = {name: backbone.model.get_submodule(name) for name in modules}
    return {
        name: ALPHA / RANK * (layer.lora_B.default.weight.double() @ layer.lora_A.default.weight.double()).detach()
        for name, layer in layers.items()
    }


@torch.no_grad()
def output(model: Any, flavour: str = "5b-i2v") -> Tensor:
    backbone = KINDS[flavour][0](model)
    inputs, _ = batch(backbone, flavour)
    return backbone.predict(**inputs)[0]


LOAD = """
import sys, torch
from safetensors.torch import save_file
from tests.matrix_train.components import stock_pipeline
for flavour, lora, delta in zip(*[iter(sys.argv[1:])] * 3):
    pipe = stock_pipeline(flavour)
    before = {name: p.detach().clone() for name, p in pipe.transformer.named_parameters()}
    pipe.load_lora_weights(lora)
    pipe.fuse_lora(components=["transformer"])
    pipe.unload_lora_weights()
    after = dict(pipe.transformer.named_parameters())
    assert after.keys() == before.keys()
    save_file({name: after[name].detach() - before[name] for name in after}, delta)
"""


def test_a_fresh_process_of_plain_diffusers_applies_trainings_update(tmp_path) -> None:
    """What `load_lora_weights` adds to every weight of the stock model, fused and subtracted again."""
    trained: dict[str, Backbone] = {}
    words: list[Path | str] = []
    for flavour in ("5b-i2v", "wan21", "wan22"):
        run, trained[flavour] = make_run(tmp_path / flavour, flavour)
        words += [flavour, export(run, tmp_path / flavour / "exported"), tmp_path / f"{flavour}.safetensors"]
    subprocess.run([sys.executable, "-c", LOAD, *words], check=True, cwd=Path(__file__).parents[3])
    for flavour, backbone in trained.items():
        modules = modules_of(flavour)
        found, want = load_file(tmp_path / f"{flavour}.safetensors"), updates(backbone, modules)
        assert {name for name, delta in found.items() if delta.any()} == {f"{name}.weight" for name in modules}
        for name in modules:
            assert want[name].abs().max() > 1e-2
            assert (found[f"{name}.weight"].double() - want[name]).abs().max() <= 1e-6


@pytest.mark.parametrize("with_metadata", [True, False])
def test_the_strength_is_one_half_and_once(run, exported, tmp_path, with_metadata) -> None:
    """r = 8, α = 4: half in the weights, and a loader's scale of 1, from the file's metadata or without any."""
    folder = exported
    if not with_metadata:
        folder = tmp_path
        save_file(load_file(exported / LORA_FILE), folder / LORA_FILE)
    pipe = stock_pipeline()
    pipe.load_lora_weights(str(folder))
    want = updates(run[1])
    for name in MODULES:
        layer = pipe.transformer.get_submodule(name)
        ((adapter, scale),) = layer.scaling.items()
        assert scale == 1.0
        assert layer.r == {adapter: RANK}
        delta = layer.lora_B[adapter].weight.double() @ layer.lora_A[adapter].weight.double()
        assert (scale * delta - want[name]).abs().max() <= 1e-6
        trained = run[1].model.get_submodule(name)
        assert torch.equal(layer.lora_B[adapter].weight, trained.lora_B.default.weight * 0.5)
        assert torch.equal(layer.lora_A[adapter].weight, trained.lora_A.default.weight)


@pytest.mark.parametrize("source", ["run", "export"])
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_the_loaded_pipeline_is_the_trained_model(tmp_path, flavour, source) -> None:
    run, backbone = make_run(tmp_path, flavour)
    pipe = stock_pipeline(flavour)
    loaded = load_into(pipe, run if source == "run" else export(run, tmp_path / "out"))
    assert loaded.vae is pipe.vae
    assert loaded.transformer is pipe.transformer
    want = output(backbone.model, flavour)
    torch.testing.assert_close(output(loaded.transformer, flavour), want, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(output(stock(flavour), flavour), want, atol=1e-3)


def test_a_chosen_checkpoint_is_the_one_that_is_loaded(run) -> None:
    folder, _ = run
    loaded = load_into(stock_pipeline(), folder, folder / "checkpoints" / "step-00000020")
    torch.testing.assert_close(
        output(loaded.transformer), output(trained_backbone("5b-i2v", seed=6).model), rtol=1e-6, atol=1e-6
    )


def test_a_checkpoint_goes_by_its_name_or_path_and_another_runs_is_refused(run, tmp_path, monkeypatch) -> None:
    folder, _ = run
    path = folder / "checkpoints/step-00000020"
    monkeypatch.chdir(folder.parent)
    for wanted in (Path("step-00000020"), path, path.relative_to(folder.parent)):
        assert find_checkpoint(folder, wanted).samefile(path)
    assert find_checkpoint(folder, None).name == "step-00000100"
    other, _ = make_run(tmp_path)
    with pytest.raises(UserError, match=r"is not a checkpoint of .*: give the name of a folder in"):
        export(folder, tmp_path / "out", other / "checkpoints/step-00000020")
    with pytest.raises(UserError, match=r"step-00000021 is not a checkpoint of"):
        export(folder, tmp_path / "out", Path("step-00000021"))


def test_other_users_may_read_what_is_exported(exported) -> None:
    assert {file.stat().st_mode & 0o777 for file in exported.iterdir()} == {
        (exported / "export.json").stat().st_mode & 0o777
    }


def test_load_into_is_where_people_look_for_it() -> None:
    assert matrix_train.load_into is load_into
    with pytest.raises(AttributeError, match="has no attribute 'load'"):
        _ = matrix_train.load


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_merged_equals_unmerged(tmp_path, flavour) -> None:
    run, backbone = make_run(tmp_path, flavour)
    merged = merge(run, tmp_path / "merged")
    want = output(backbone.model, flavour)
    plain = type(backbone).model_class.from_pretrained(merged / "transformer").eval()
    assert plain.config.in_channels == backbone.model.config.in_channels
    assert not any("lora" in name for name, _ in plain.named_parameters())
    torch.testing.assert_close(output(plain, flavour), want, rtol=1e-5, atol=1e-5)
    again = type(backbone).load(str(merged))
    torch.testing.assert_close(output(again.model.eval(), flavour), want, rtol=1e-5, atol=1e-5)
    assert json.loads((merged / "export.json").read_text())["kind"] == "merged"


def test_a_merged_model_keeps_the_runs_precision(tmp_path) -> None:
    run, _ = make_run(tmp_path)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("fp32", "bf16"))
    merged = merge(run, tmp_path / "merged", base=str(tmp_path / "base"))
    weights = load_file(merged / "transformer" / "diffusion_pytorch_model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}


def test_the_files_hold_lora_and_projection_and_nothing_else(run, exported) -> None:
    assert {file.name for file in exported.iterdir()} == {LORA_FILE, PROJECTION_FILE, "export.json"}
    lora, projection = load_file(exported / LORA_FILE), load_file(exported / PROJECTION_FILE)
    assert lora.keys() == {f"transformer.{name}.lora_{side}.weight" for name in MODULES for side in "AB"}
    assert projection.keys() == {"patch_embed.proj.weight", "patch_embed.proj.bias"}
    record = json.loads((exported / "export.json").read_text())
    digest = record.pop("checkpoint_sha256")
    assert len(digest) == 64
    assert record == {
        "schema_version": 1, "kind": "lora", "backbone": "cogvideox",
        "base_model": str(run[0].parent / "base"), "base_revision": None,
        "rank": 8, "alpha": 4, "blocks": [0, 2], "checkpoint": "step-00000100",
    }  # fmt: skip


def test_every_key_is_one_that_comfy_knows(exported, tmp_path) -> None:
    assert check_comfy_keys(exported / LORA_FILE, CogVideoX) == []
    lora = load_file(exported / LORA_FILE)
    q = "transformer.transformer_blocks.0.attn1.to_q"
    half = lora.pop(f"{q}.lora_A.weight")
    known, unknown = f"{q.replace('to_q', 'to_k')}.alpha", "transformer.transformer_blocks.42.attn1.to_q.lora_A.weight"
    save_file({**lora, known: torch.tensor(8.0), unknown: half}, tmp_path / "lora.safetensors")
    assert check_comfy_keys(tmp_path / "lora.safetensors", CogVideoX) == [f"{q}.lora_B.weight", unknown]


def test_diffusers_refuses_alpha_among_the_tensors(exported, tmp_path) -> None:
    """Why alpha is in the metadata alone. Once diffusers takes it, it may move into the file."""
    alpha = {f"transformer.{name}.alpha": torch.tensor(float(RANK)) for name in MODULES}
    save_file({**load_file(exported / LORA_FILE), **alpha}, tmp_path / LORA_FILE)
    with pytest.raises(ValueError, match="contain `'lora'` substring"):
        stock_pipeline().load_lora_weights(str(tmp_path))


def test_a_run_without_a_checkpoint_is_named(run, tmp_path) -> None:
    with pytest.raises(UserError, match=r"not a run folder: it has no config\.yaml"):
        export(tmp_path, tmp_path / "out")
    (tmp_path / "config.yaml").write_text((run[0] / "config.yaml").read_text())
    (tmp_path / "checkpoints" / ".step-00000005-x").mkdir(parents=True)
    (tmp_path / "checkpoints" / "step-00000005").mkdir()
    for call in (lambda: latest_checkpoint(tmp_path), lambda: export(tmp_path, tmp_path / "out")):
        with pytest.raises(UserError, match="has no checkpoint"):
            call()
    (tmp_path / "config.yaml").write_text("model: {path: x}")
    with pytest.raises(UserError, match=r"model\.path and model\.precision are needed"):
        export(tmp_path, tmp_path / "out")
    with pytest.raises(UserError, match=r"step-00000005/trainable\.safetensors does not exist"):
        read_trained(tmp_path / "checkpoints" / "step-00000005")


def test_damaged_and_foreign_files_are_named(run, tmp_path) -> None:
    checkpoint = tmp_path / "run/checkpoints/step-00000001"
    checkpoint.mkdir(parents=True)
    shutil.copy(run[0] / "config.yaml", tmp_path / "run")
    whole = (run[0] / "checkpoints" / "step-00000100" / TRAINABLE_FILE).read_bytes()
    (checkpoint / TRAINABLE_FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="not a readable safetensors file"):
        export(tmp_path / "run", tmp_path / "out", checkpoint)
    save_file({"x": torch.zeros(1)}, checkpoint / TRAINABLE_FILE)
    with pytest.raises(UserError, match="no rank, alpha, blocks and backbone in its metadata"):
        export(tmp_path / "run", tmp_path / "out", checkpoint)
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


@pytest.mark.parametrize("changes", [{"num_layers": 2}, {"num_attention_heads": 3}], ids=str)
def test_another_base_model_is_refused_and_left_as_it_is(run, tmp_path, changes) -> None:
    pipe = stock_pipeline()
    pipe.register_modules(transformer=stock("5b", **changes))
    before = {name: tensor.clone() for name, tensor in pipe.transformer.state_dict().items()}
    with pytest.raises(UserError, match="trained on another base model"):
        load_into(pipe, run[0])
    assert pipe.transformer.config.in_channels == 32
    after = pipe.transformer.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    pipe.transformer.save_pretrained(tmp_path / "other" / "transformer")
    with pytest.raises(UserError, match="trained on another base model"):
        merge(run[0], tmp_path / "out", base=str(tmp_path / "other"))
    with pytest.raises(UserError, match="nowhere: there is no such folder"):
        merge(run[0], tmp_path / "out", base=str(tmp_path / "nowhere"))
    assert {path.name for path in tmp_path.iterdir()} == {"other"}


def test_1_5_and_1_0_are_not_taken_for_each_other(run) -> None:
    with pytest.raises(UserError, match=r"trained on another base model: patch_embed\.proj"):
        load_into(stock_pipeline("1.5-i2v"), run[0])


def test_the_result_appears_whole_or_not_at_all(run, tmp_path, monkeypatch) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(UserError, match="is not empty"):
        export(run[0], tmp_path / "taken")
    (tmp_path / "empty").mkdir()
    export(run[0], tmp_path / "empty")
    monkeypatch.setattr(module, "_write_record", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(run[0], tmp_path / "broken")
    assert {path.name for path in tmp_path.iterdir()} == {"taken", "empty"}
