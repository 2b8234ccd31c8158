"""What a profile may get wrong: one line that says what to do, before the first clip."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tasks.engines.grounding_dino.architecture import KNOWN, architecture_of
from tasks.errors import UserError


@pytest.fixture
def folder(saved, tmp_path):
    """Copies that a test may break."""
    shutil.copytree(saved["transformers"]["checkpoint"], tmp_path / "model")
    for key in ("checkpoint", "config"):
        shutil.copy(saved["groundingdino"][key], tmp_path)
    shutil.copytree(saved["groundingdino"]["text_encoder"], tmp_path / "text")
    return tmp_path


def fails(make, *words, **options):
    """`make(**options)`, or its check, ends in a UserError of one line that holds `words`."""
    with pytest.raises(UserError) as caught:
        make(**options).check()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    for word in words:
        assert word in str(caught.value)


def at_once(make, *words, **options):
    """The same, and already when the engine is made."""
    with pytest.raises(UserError):
        make(**options)
    fails(make, *words, **options)


def test_a_checkpoint_that_is_not_there(engine, folder):
    at_once(engine, "no checkpoint at", "download", checkpoint=str(folder / "absent.pth"))
    at_once(engine, "is a folder", "implementation: transformers", checkpoint=str(folder))
    at_once(engine, "must end in", checkpoint=str(folder / "sizes.json"))
    at_once(engine, "there is no folder", implementation="transformers", checkpoint=str(folder / "absent"))
    at_once(engine, "is a file", implementation="transformers", checkpoint=str(folder / "sizes.json"))


def test_a_name_the_hub_does_not_give(engine, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    fails(engine, "nobody/nothing", "cannot be loaded", implementation="transformers", checkpoint="nobody/nothing")
    fails(engine, "nobody/nothing", "cannot be loaded", text_encoder="nobody/nothing")


@pytest.mark.parametrize("keep", [0, 7, 2000, 100_000])
def test_damaged_safetensors(engine, folder, keep):
    for path in (folder / "dino.safetensors", folder / "model/model.safetensors"):
        path.write_bytes(path.read_bytes()[:keep])
    at_once(engine, "damaged", "again", checkpoint=str(folder / "dino.safetensors"))
    at_once(engine, "damaged", "again", implementation="transformers", checkpoint=str(folder / "model"))


def test_a_checkpoint_of_another_architecture(engine, folder):
    checkpoint = str(folder / "dino.safetensors")
    fails(engine, "another architecture", "configuration", checkpoint=checkpoint, config="SwinT_OGC")
    at_once(engine, "looks like transformers'", checkpoint=str(folder / "model/model.safetensors"))
    save_file({"conv.weight": torch.zeros(3)}, folder / "other.safetensors")
    at_once(engine, "no checkpoint of groundingdino-py", checkpoint=str(folder / "other.safetensors"))
    at_once(engine, "of type 'bert'", implementation="transformers", checkpoint=str(folder / "text"))
    at_once(engine, "no config.json", implementation="transformers", checkpoint=str(folder))


def test_a_single_weight_that_is_missing(engine, folder):
    weights = load_file(folder / "dino.safetensors")
    del weights["feat_map.bias"]
    save_file(weights, folder / "dino.safetensors")
    fails(engine, "1 tensors are missing", "feat_map.bias", checkpoint=str(folder / "dino.safetensors"))
    path = folder / "model/model.safetensors"
    weights = load_file(path)
    del weights["model.text_projection.bias"]
    save_file(weights, path, metadata={"format": "pt"})
    fails(engine, "lacks 1 weights", "text_projection", implementation="transformers", checkpoint=str(folder / "model"))
    config = json.loads((folder / "model/config.json").read_text())
    (folder / "model/config.json").write_text(json.dumps({**config, "num_queries": 7}))
    fails(engine, "cannot be loaded", implementation="transformers", checkpoint=str(folder / "model"))


def test_weights_that_are_no_numbers(engine, folder):
    weights = load_file(folder / "dino.safetensors")
    weights["transformer.decoder.norm.weight"][3] = float("nan")
    save_file(weights, folder / "dino.safetensors")
    fails(engine, "no numbers", checkpoint=str(folder / "dino.safetensors"))


def test_pickled_weights_run_no_code(engine, folder):
    target = folder / "bomb"

    class Mine:
        def __reduce__(self):
            return (Path.touch, (target,))

    torch.save({"model": {"weight": Mine()}}, folder / "evil.pth")
    fails(engine, "could run code", "safetensors", checkpoint=str(folder / "evil.pth"))
    (folder / "plain.pth").write_bytes(pickle.dumps(Mine()))
    fails(engine, "plain.pth", checkpoint=str(folder / "plain.pth"))
    (folder / "model/model.safetensors").unlink()
    torch.save({"weight": Mine()}, folder / "model/pytorch_model.bin")
    at_once(engine, "only pickled", implementation="transformers", checkpoint=str(folder / "model"))
    assert not target.exists()


def test_a_text_encoder_that_is_not_whole(engine, folder):
    text = folder / "text"
    at_once(engine, "no folder", text_encoder=str(folder / "absent"))
    config = json.loads((text / "config.json").read_text())
    (text / "config.json").write_text(json.dumps({**config, "vocab_size": 50}))
    fails(engine, "more tokens", text_encoder=str(text))
    (text / "config.json").write_text(json.dumps({**config, "hidden_size": 48}))
    fails(engine, "another architecture", "bert.", text_encoder=str(text))
    (text / "config.json").write_text(json.dumps({**config, "model_type": "roberta"}))
    at_once(engine, "'roberta'", "BERT", text_encoder=str(text))
    (text / "config.json").unlink()
    at_once(engine, "no config.json", text_encoder=str(text))
    for name in ("tokenizer.json", "vocab.txt"):
        (text / name).unlink(missing_ok=True)
    at_once(engine, "neither tokenizer.json nor vocab.txt", text_encoder=str(text))


def test_a_tokenizer_that_cannot_be_read(engine, folder):
    for name in ("tokenizer.json", "vocab.txt"):
        (folder / "text" / name).write_text("{not json")
        (folder / "model" / name).write_text("{not json")
    fails(engine, "tokenizer", "cannot be loaded", text_encoder=str(folder / "text"))
    fails(engine, "cannot be loaded", implementation="transformers", checkpoint=str(folder / "model"))


def test_a_tokenizer_that_numbers_its_tokens_otherwise(engine, folder):
    from transformers import BertTokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", "person"]
    BertTokenizer(vocab={w: k for k, w in enumerate(words)}).save_pretrained(folder / "model")
    fails(engine, "numbers [CLS]", implementation="transformers", checkpoint=str(folder / "model"))
    BertTokenizer(vocab={w: k for k, w in enumerate(words) if w != "?"}).save_pretrained(folder / "text")
    fails(engine, "lacks", text_encoder=str(folder / "text"))


def test_cuda_asked_and_absent(engine):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    at_once(engine, "sees 0 GPUs", "device: auto", device="cuda")
    at_once(engine, "use auto", device="tpu")


def test_a_package_that_is_not_installed(engine, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    at_once(engine, "groundingdino-py", "extra `models`")


def test_a_python_config_is_not_run(engine, folder):
    target = folder / "ran"
    (folder / "sizes.py").write_text(f"open({str(target)!r}, 'w')\n")
    at_once(engine, "is not run", "JSON", config=str(folder / "sizes.py"))
    assert not target.exists()
    at_once(engine, "neither SwinT_OGC nor SwinB", config="SwinL")


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"hidden_dim": 256}, "unknown setting"),
        ({"heads": 7}, "heads must be even"),
        ({"stages": [2, 3]}, "stages must be"),
        ({"levels": 2}, "levels must be at least"),
        ({"queries": 10**9}, "queries"),
        ({"swin": {"width": 96, "heads": [5, 6, 12, 24]}}, "not a multiple of 5 heads"),
        ({"swin": {"depths": [2, 2, 6, 1000]}}, "depths must be"),
        ({"shared_box_head": False, "shared_first_stage_box_head": True}, "needs shared_box_head"),
        ([1, 2], "no JSON object"),
    ],
)
def test_sizes_that_are_none(tmp_path, sizes, words):
    (tmp_path / "sizes.json").write_text(json.dumps(sizes))
    with pytest.raises(UserError, match=words):
        architecture_of(str(tmp_path / "sizes.json"), "detector")


def test_sizes_as_json_are_the_tables(tmp_path):
    (tmp_path / "sizes.json").write_text(KNOWN["SwinB"].model_dump_json())
    assert architecture_of(str(tmp_path / "sizes.json"), "detector") == KNOWN["SwinB"]


@pytest.mark.parametrize(
    "options",
    [
        {"box_threshold": 1.5},
        {"nms_iou": 0},
        {"batch": 0},
        {"shorter": 800, "longer": 600},
        {"precision": "int8"},
        {"box_treshold": 0.3},
        {"implementation": "transformers", "config": "SwinB"},
    ],
)
def test_settings_out_of_range(engine, options):
    with pytest.raises(ValueError, match="settings"):
        engine(**options)
