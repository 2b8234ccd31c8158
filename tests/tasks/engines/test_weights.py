"""Weights from files nobody vouches for: no code is run, damage is one line, the identity is the content's."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tasks.engines.weights import digest_of, fit_weights, load_weights, read_json
from tasks.errors import UserError


def fails(call, *words):
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
    for word in ("detector", *words):
        assert word in str(caught.value)


@pytest.fixture
def tensors():
    torch.manual_seed(0)
    return {"a.weight": torch.randn(3, 4), "b": torch.arange(5)}


@pytest.mark.parametrize("wrap", [lambda t: t, *[lambda t, k=k: {k: t} for k in ("model", "state_dict")]])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
def test_what_was_saved_is_what_is_loaded(tensors, tmp_path, wrap, suffix):
    path = tmp_path / f"weights{suffix}"
    torch.save(wrap(tensors), path)
    found = load_weights(path, "detector")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[k], tensors[k]) for k in tensors)


def test_a_wrapper_may_hold_more_than_the_model(tensors, tmp_path):
    torch.save({"model": tensors, "epoch": 3, "optimizer": {"lr": 0.1}}, tmp_path / "weights.pth")
    assert load_weights(tmp_path / "weights.pth", "detector").keys() == tensors.keys()


def test_safetensors(tensors, tmp_path):
    save_file(tensors, tmp_path / "weights.safetensors")
    assert torch.equal(load_weights(tmp_path / "weights.safetensors", "detector")["b"], tensors["b"])


def test_absent_or_a_folder(tmp_path):
    fails(lambda: load_weights(tmp_path / "absent.pth", "detector"), "no weights at", "download")
    fails(lambda: load_weights(tmp_path, "detector"), "no weights at")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("keep", [0, 1, 9, 200])
def test_cut_short(tensors, tmp_path, suffix, keep):
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    path.write_bytes(path.read_bytes()[:keep])
    fails(lambda: load_weights(path, "detector"), path.name)


def test_noise(tmp_path):
    for suffix in (".safetensors", ".pth"):
        path = tmp_path / f"weights{suffix}"
        path.write_bytes(bytes(range(256)) * 40)
        fails(lambda path=path: load_weights(path, "detector"), path.name)


def test_a_pickle_is_not_run(tmp_path):
    target = tmp_path / "ran"

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (target,))

    torch.save({"a": Bomb()}, tmp_path / "zip.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"a": Bomb()}))
    torch.save({"a": Bomb()}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for name in ("zip.pth", "plain.pth", "old.pth"):
        fails(lambda name=name: load_weights(tmp_path / name, "detector"), name)
    assert not target.exists()


@pytest.mark.parametrize("other", [[1, 2], {"a": 3}, {"model": {"a": "b"}}, torch.zeros(2)])
def test_something_else_than_tensors_by_name(tmp_path, other):
    torch.save(other, tmp_path / "weights.pth")
    fails(lambda: load_weights(tmp_path / "weights.pth", "detector"), "no table of tensors")


def model() -> torch.nn.Module:
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))


def test_every_weight_goes_in():
    weights = {k: torch.randn_like(v) for k, v in model().state_dict().items()}
    filled = model()
    fit_weights(filled, weights, "detector")
    assert all(torch.equal(v, weights[k]) for k, v in filled.state_dict().items())


def test_missing_unknown_or_of_another_shape():
    whole = model().state_dict()
    fails(
        lambda: fit_weights(model(), {k: v for k, v in whole.items() if k != "0.bias"}, "detector"),
        "1 tensors are",
        "'0.bias'",
    )
    fails(lambda: fit_weights(model(), {**whole, "2.bias": torch.zeros(1)}, "detector"), "1 unknown", "'2.bias'")
    fails(
        lambda: fit_weights(model(), {**whole, "0.bias": torch.zeros(5)}, "detector"), "1 of another shape", "'0.bias'"
    )
    fails(lambda: fit_weights(model(), {}, "detector"), "4 tensors are missing")


def test_a_refused_checkpoint_changes_nothing():
    target = model()
    before = {k: v.clone() for k, v in target.state_dict().items()}
    fails(lambda: fit_weights(target, {"0.weight": torch.zeros(4, 3)}, "detector"))
    assert all(torch.equal(v, before[k]) for k, v in target.state_dict().items())


def test_what_may_be_ignored_may_be_missing_or_too_much_but_not_misshapen():
    whole = model().state_dict()
    target = model()
    without = {k: v for k, v in whole.items() if not k.startswith("1.")}
    fit_weights(target, {**without, "1.extra": torch.zeros(2)}, "detector", ignore=("1.",))
    fails(lambda: fit_weights(target, {**whole, "1.bias": torch.zeros(9)}, "detector", ignore=("1.",)), "another shape")


def test_json(tmp_path):
    (tmp_path / "config.json").write_text('{"a": 1}')
    assert read_json(tmp_path / "config.json", "detector") == {"a": 1}
    fails(lambda: read_json(tmp_path / "absent.json", "detector"), "no absent.json", "no model folder")
    for text, words in (("{", "cannot be read"), ("[1]", "no JSON object"), ("[" * 100_000, "cannot be read")):
        (tmp_path / "config.json").write_text(text)
        fails(lambda words=words: read_json(tmp_path / "config.json", "detector"), words)
    (tmp_path / "config.json").write_bytes(b"\xff\xfe{}")
    fails(lambda: read_json(tmp_path / "config.json", "detector"), "cannot be read")


def test_the_digest_is_of_the_content_and_not_of_the_path(tmp_path):
    one, two, other = (tmp_path / n for n in ("one", "two", "other"))
    one.write_bytes(b"weights")
    two.write_bytes(b"weights")
    other.write_bytes(b"Weights")
    assert digest_of(one) == digest_of(two)
    assert len({digest_of(one), digest_of(other), digest_of(one, other), digest_of(other, one)}) == 4
    assert len(digest_of(one)) == 12


def test_a_file_that_changes_changes_its_digest(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"a" * 100)
    before = digest_of(path)
    path.write_bytes(b"b" * 100)
    os.utime(path, ns=(1, 1))  # same size, another time
    assert digest_of(path) != before
