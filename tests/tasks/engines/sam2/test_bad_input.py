"""What a user is told, in one line and before the first clip, when a model is not what the profile says."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from schemas.settings import validate
from tasks.engines.sam2.engine import Sam2Tracker
from tasks.engines.sam2.options import Sam2Options
from tasks.errors import UserError
from tasks.store.folder import Folder
from tests.tasks.engines.tiny_sam2 import save_tiny, tiny_architecture, tiny_network


def make(options) -> Sam2Tracker:
    return Sam2Tracker(validate(Sam2Options, options), Folder("/nowhere"))


def told(act) -> str:
    """The one line of the UserError."""
    with pytest.raises(UserError) as error:
        act()
    message = str(error.value)
    assert "\n" not in message and len(message) < 600
    return message


@pytest.fixture
def original(tmp_path):
    return save_tiny(tmp_path / "original", "sam2", 0)


@pytest.fixture
def ported(tmp_path):
    return save_tiny(tmp_path / "ported", "transformers", 0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"window": 10, "overlap": 6}, "overlap: at most half of window"),
        ({"implementation": "transformers", "config": "sam2.1_hiera_l"}, "config: transformers reads"),
        ({"implementation": "transformers", "vos_optimized": True}, "vos_optimized: only with implementation: sam2"),
        ({"image_size": 1000}, "image_size: Input should be a multiple of 32"),
        ({"max_object": 3}, "max_object: unknown setting"),
        ({"checkpoint": ""}, "checkpoint: String should have at least 1 character"),
    ],
)
def test_settings_that_do_not_fit(settings, said):
    with pytest.raises(ValueError, match=said):
        validate(Sam2Options, {"checkpoint": "x.pt"} | settings)


def test_missing_weights_are_told_when_the_engine_is_made(original, tmp_path):
    assert "no weights at" in told(lambda: make(original | {"checkpoint": str(tmp_path / "none.pt")}))
    message = told(lambda: make({"implementation": "transformers", "checkpoint": str(tmp_path / "none")}))
    assert "no config.json" in message


def test_cuda_that_is_not_there(original, ported, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for options in (original, ported):
        assert "device 'cuda' was asked for" in told(lambda options=options: make(options | {"device": "cuda"}))
    assert "vos_optimized needs CUDA" in told(lambda: make(original | {"vos_optimized": True}))
    assert "use auto, cpu, cuda, cuda:N or mps" in told(lambda: make(original | {"device": "gpu"}))


def test_weights_of_another_architecture(original):
    message = told(make(original | {"config": "sam2.1_hiera_t"}).check)
    assert "another architecture" in message and "name the configuration" in message


def test_weights_with_one_tensor_missing(original):
    path = Path(original["checkpoint"])
    weights = torch.load(path, weights_only=True)["model"]
    del weights["no_obj_ptr"]
    torch.save({"model": weights}, path)
    assert "1 tensors are missing" in told(make(original).check)


@pytest.mark.parametrize("keep", [0, 5, 2000])
def test_torn_checkpoints(original, keep):
    path = Path(original["checkpoint"])
    path.write_bytes(path.read_bytes()[:keep])
    assert str(path) in told(make(original).check)


class Bomb:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_pickles_that_would_run_code_are_refused(original, tmp_path, writer):
    path, marker = Path(original["checkpoint"]), tmp_path / "ran"
    content = {"model": {"a": torch.zeros(1), "b": Bomb(marker)}}
    if writer == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    assert "could run code" in told(make(original).check)
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x40\0\0\0\0\0\0\0{"])
def test_safetensors_without_a_sound_header_are_told_when_the_engine_is_made(original, tmp_path, content):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    assert "cannot be read, download it again" in told(lambda: make(original | {"checkpoint": str(path)}))


def test_folder_of_another_model(ported):
    config = Path(ported["checkpoint"]) / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "sam"}))
    assert "holds a model of type 'sam', not 'sam2_video'" in told(lambda: make(ported))
    config.write_text("[]")
    assert "no JSON object" in told(lambda: make(ported))


def test_folder_without_weights(ported):
    (Path(ported["checkpoint"]) / "model.safetensors").unlink()
    assert "has no .safetensors file" in told(lambda: make(ported))


def test_folder_with_torn_weights(ported):
    path = Path(ported["checkpoint"]) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    assert "cannot be loaded" in told(make(ported).check)


def test_folder_whose_weights_lack_a_tensor_or_have_another_shape(ported):
    path = Path(ported["checkpoint"]) / "model.safetensors"
    weights = load_file(path)
    whole = weights.pop("no_object_pointer")
    save_file(weights, path, {"format": "pt"})
    message = told(make(ported).check)
    assert "1 tensors are missing" in message and "no_object_pointer" in message
    save_file(weights | {"no_object_pointer": whole[:, :7].contiguous()}, path, {"format": "pt"})
    assert "cannot be loaded" in told(make(ported).check)


def hostile(change):
    model = tiny_architecture()
    change(model)
    return yaml.safe_dump({"model": model})


@pytest.mark.parametrize(
    "text",
    [
        hostile(lambda m: m.update(_target_="os.system")),
        # starts like a part of SAM2, and yet is none
        hostile(lambda m: m.update(_target_="sam2.modeling.sam2_base.torch.hub.load")),
        hostile(lambda m: m["image_encoder"]["trunk"].update(_target_="subprocess.Popen")),
        hostile(lambda m: m.update(extra=[{"_target_": "builtins.eval", "_args_": ["1"]}])),
        hostile(lambda m: m["image_encoder"].update(_partial_=True)),
        hostile(lambda m: m.update(num_maskmem="${oc.env:HOME}")),
        "model: 3",
        "- model",
        "model: {a: ${",
        "a: b: c",
        "\0",
    ],
)
def test_configurations_that_are_no_sam2(original, tmp_path, text):
    (tmp_path / "bad.yaml").write_text(text)
    told(lambda: make(original | {"config": str(tmp_path / "bad.yaml")}))


def test_configurations_that_make_no_model(original, tmp_path):
    (tmp_path / "bad.yaml").write_text(hostile(lambda m: m["memory_attention"].update(num_layers="many")))
    assert "the configuration makes no model" in told(make(original | {"config": str(tmp_path / "bad.yaml")}).check)
    (tmp_path / "old.yaml").write_text(hostile(lambda m: m.update(memory_temporal_stride_for_eval=2)))
    message = told(make(original | {"config": str(tmp_path / "old.yaml")}).check)
    assert "memory_temporal_stride_for_eval: 2; SAM 2.1 has 1" in message


def test_a_configuration_nobody_has(original):
    message = told(lambda: make(original | {"config": "sam2.1_hiera_xl"}))
    assert "sam2.1_hiera_l" in message and "nor a YAML file" in message


@pytest.mark.parametrize(
    "before", ["", "from hydra import initialize; initialize(version_base='1.2', config_path=None)"]
)
def test_hydra_is_left_as_it_was_found(before):
    script = f"""
{before}
from hydra.core.global_hydra import GlobalHydra
was = GlobalHydra.instance().is_initialized()
from tasks.engines.sam2 import build
build.build(build.read_config("sam2.1_hiera_t", 64))
assert GlobalHydra.instance().is_initialized() is was is {bool(before)}
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, timeout=120)


def test_the_package_keeps_its_four_configurations():
    from tasks.engines.sam2 import build

    sizes = {}
    for name in build.NAMES:
        # Not on the meta device: Hiera reads its drop rates out of a tensor while it is made.
        sizes[name] = sum(p.numel() for p in build.build(build.read_config(name, 64)).parameters()) / 1e6
    assert [round(n) for n in sizes.values()] == [39, 46, 81, 224]
    assert tiny_network(0).image_size == 128
