"""A pipeline's parts: nothing unpickled, nothing drawn at random for what is missing, one line for what is wrong."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.setting.processes import free_port
from matrix_train.backbones import CogVideoX, backbone_class
from matrix_train.backbones.cogvideox.tiny import make_tiny_pipeline
from matrix_train.backbones.encoders import identity
from matrix_train.errors import UserError

WEIGHTS = {
    "vae": "diffusion_pytorch_model", "transformer": "diffusion_pytorch_model", "text_encoder": "model",
}  # fmt: skip
PICKLES = {
    "vae": "diffusion_pytorch_model.bin", "transformer": "diffusion_pytorch_model.bin",
    "text_encoder": "pytorch_model.bin",
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained") / "model"
    make_tiny_pipeline(folder, ["A man lifts a box."], frames=9, height=64, width=96, max_tokens=16)
    return folder


@pytest.fixture
def model(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def load(model: Path) -> None:
    CogVideoX.encoders.load(str(model))
    CogVideoX.load(str(model))


def weights(model: Path, part: str) -> Path:
    return model / part / f"{WEIGHTS[part]}.safetensors"


def no_file(model: Path, part: str) -> None:
    shutil.rmtree(model / part)


def torn(model: Path, part: str) -> None:
    file = weights(model, part)
    file.write_bytes(file.read_bytes()[:-1000])


def pickled(model: Path, part: str) -> None:
    """Honest weights, which would load: what is refused is the format."""
    file = weights(model, part)
    torch.save(load_file(file), model / part / PICKLES[part])
    file.unlink()


def one_short(model: Path, part: str) -> None:
    tensors = load_file(weights(model, part))
    del tensors[next(n for n in sorted(tensors) if n.endswith("o.weight") or "conv_out" in n or "to_q" in n)]
    save_file(tensors, weights(model, part), {"format": "pt"})


def no_json(model: Path, part: str) -> None:
    (model / part / "config.json").write_text("[]")


def test_a_whole_pipeline_loads(whole: Path) -> None:
    load(whole)


@pytest.mark.parametrize("part", list(WEIGHTS))
@pytest.mark.parametrize("damage", [no_file, torn, pickled, one_short, no_json])
def test_what_is_not_whole_is_refused_in_one_line(model: Path, part: str, damage: Callable[[Path, str], None]) -> None:
    damage(model, part)
    with pytest.raises(UserError, match=f"{part} (cannot be read|lacks)") as error:
        load(model)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("part", ["vae", "text_encoder"])
def test_a_pickle_under_any_name_runs_no_code(model: Path, tmp_path: Path, part: str) -> None:
    bomb = pickle.dumps(Bomb(tmp_path / "ran"))
    weights(model, part).write_bytes(bomb)
    (model / part / PICKLES[part]).write_bytes(bomb)
    with pytest.raises(UserError, match="cannot be read"):
        load(model)
    assert not (tmp_path / "ran").exists()


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.mark,)


def test_a_missing_tokenizer_is_no_empty_one(model: Path) -> None:
    shutil.rmtree(model / "tokenizer")
    with pytest.raises(UserError, match=r"tokenizer cannot be read: there is no tokenizer\.json"):
        load(model)


@pytest.mark.parametrize("text", ["[]", "{}", '{"_class_name": "CogVideoXDPMScheduler", "beta_start": "x"}'])
def test_a_schedule_that_is_none(model: Path, text: str) -> None:
    (model / "scheduler" / "scheduler_config.json").write_text(text)
    with pytest.raises(UserError, match=r"schedule"):
        load(model)


def test_settings_that_this_diffusers_does_not_know_are_left_out(model: Path) -> None:
    file = model / "transformer" / "config.json"
    file.write_text(file.read_text().replace("{", '{"auto_map": {"AutoModel": "evil.Model"},', 1))
    assert "auto_map" not in CogVideoX.read_config(str(model))


def test_a_transformer_that_is_none_of_ours_is_named(model: Path) -> None:
    assert backbone_class(str(model)) is CogVideoX
    file = model / "transformer/config.json"
    text = file.read_text()
    for name, words in {
        "HunyuanVideoTransformer3DModel": "a HunyuanVideoTransformer3DModel cannot be trained here; CogVideoX.*, Wan",
        "WanTransformer3DModel": "of its WanTransformer3DModel this kind cannot be trained here; wan21 and wan22 can",
    }.items():
        file.write_text(text.replace("CogVideoXTransformer3DModel", name))
        with pytest.raises(UserError, match=words):
            backbone_class(str(model))
    file.unlink()
    with pytest.raises(UserError, match="transformer cannot be read"):
        backbone_class(str(model))


# diffusers hands huggingface_hub an argument that the latter no longer knows.
@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks` argument")
@pytest.mark.parametrize("offline", [False, True])
def test_a_hub_out_of_reach_is_asked_once_and_called_that(
    offline: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Both libraries say then that the hub has no such file, and their own asks five times more."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it waits to ask again"))
    encoders = CogVideoX.encoders
    for read in (
        backbone_class, CogVideoX.load, CogVideoX.read_config, encoders.load, encoders.plan, encoders.read_tokenizer,
        lambda name: identity(name, "vae", None),
    ):  # fmt: skip
        with pytest.raises(
            UserError,
            match=r"owner/model: there is no such folder, the hub cannot be reached, and \w+ is not in its cache here",
        ):
            read("owner/model")
    assert "Retrying" not in caplog.text


@pytest.mark.parametrize("name", ["/nowhere/model", "runs/a/model", "./model", "~/model", "model/"])
def test_a_folder_that_is_not_there_is_not_asked_for_at_the_hub(name: str) -> None:
    with pytest.raises(UserError, match="there is no such folder: correct it, or give a name on the hub"):
        backbone_class(name)


def test_a_model_of_the_hub_is_known_by_its_commit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, whole: Path
) -> None:
    """As huggingface_hub keeps what it has fetched."""
    commit, kept = "0123456789abcdef" * 2 + "01234567", tmp_path / "models--owner--model"
    shutil.copytree(whole / "vae", kept / "snapshots" / commit / "vae")
    (kept / "refs").mkdir()
    (kept / "refs/main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path), raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert identity("owner/model", "vae", None) == f"owner/model@{commit}/vae"
