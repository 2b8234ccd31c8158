"""One line for everything a user can get wrong, before the first clip: from settings and files, then from weights."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tasks.engines.in_process import network
from tasks.engines.in_process.engine import InProcessVerifier
from tasks.errors import InfrastructureError, UserError


@pytest.fixture
def copy(llm, tmp_path):
    shutil.copytree(llm, tmp_path / "model")
    return tmp_path / "model"


def fails(engine, where, word, **options):
    with pytest.raises(UserError, match=word) as caught:
        engine(str(where), **options).check()
    assert "\n" not in str(caught.value) and "engine transformers" in str(caught.value)


def test_a_path_where_nothing_is(engine, tmp_path):
    fails(engine, tmp_path / "gone", "no folder")
    (tmp_path / "file").touch()
    fails(engine, tmp_path / "file", "is a file")


def test_a_folder_that_holds_no_model_or_pickles_only(engine, copy, tmp_path):
    (tmp_path / "empty").mkdir()
    fails(engine, tmp_path / "empty", r"no config\.json")
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    fails(engine, copy, r"no \.safetensors")


def test_weights_that_are_cut_off_or_lack_some(engine, copy):
    whole = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(whole[:1000])
    fails(engine, copy, "cannot be loaded")
    (copy / "model.safetensors").write_bytes(whole)
    weights = load_file(copy / "model.safetensors")
    weights.pop("model.norm.weight")
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    network._places.clear()
    fails(engine, copy, "lacks 1 weights, first 'model.norm.weight'")


def test_a_model_without_a_chat_template(engine, copy):
    (copy / "chat_template.jinja").unlink()
    fails(engine, copy, "no chat template")


def test_a_kind_of_model_that_nobody_knows(engine, copy):
    config = json.loads((copy / "config.json").read_text()) | {"model_type": "no_such_model"}
    (copy / "config.json").write_text(json.dumps(config))
    fails(engine, copy, "cannot be loaded")


def test_code_of_a_repository_is_not_run(engine, copy):
    ran = copy / "ran"
    (copy / "evil.py").write_text(f"open({str(ran)!r}, 'w')\n")
    config = json.loads((copy / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}}
    (copy / "config.json").write_text(json.dumps(config))
    fails(engine, copy, "cannot be loaded")
    assert not ran.exists()


def test_a_language_model_as_a_verifier(engine, llm):
    fails(engine, llm, "takes no images", kind=InProcessVerifier)


def test_fewer_bits_without_the_package_for_it(engine, llm, monkeypatch):
    monkeypatch.setattr(network.importlib.util, "find_spec", lambda name: None)
    fails(engine, llm, "bitsandbytes", quantize="8bit")


def test_a_gpu_that_does_not_hold_the_weights_leaves_the_clip_pending(engine, copy, monkeypatch):
    def full(*_):
        raise torch.cuda.OutOfMemoryError("full")

    monkeypatch.setattr(network, "Network", full)
    with pytest.raises(InfrastructureError, match="does not hold the weights"):
        engine(str(copy)).check()


def test_another_folder_under_the_same_name_is_another_model(engine, copy):
    before = engine(str(copy)).resolved
    weights = load_file(Path(copy) / "model.safetensors")
    save_file({name: t + 1 for name, t in weights.items()}, copy / "model.safetensors", {"format": "pt"})
    network._places.clear()
    assert engine(str(copy)).resolved != before
