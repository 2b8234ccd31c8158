"""What an engine's settings say of its answers: with nothing installed, nothing there, and nothing forgotten."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from schemas.settings import validate
from tasks.engines.embedded import options as embedded
from tasks.engines.grounding_dino.options import DinoOptions
from tasks.engines.in_process import options as in_process
from tasks.engines.registry import ENGINES, EngineSpec, declared_identity
from tasks.engines.sam2.options import Sam2Options
from tasks.engines.served.options import CaptionerOptions, LanguageOptions, VerifierOptions

ROOT = Path(__file__).parents[3]
PACKAGES = (
    "torch", "torchvision", "transformers", "safetensors", "huggingface_hub", "groundingdino", "sam2", "hydra",
    "omegaconf", "openai", "httpx2", "llguidance",
)  # fmt: skip

ALONE = """
import json, socket, sys
import importlib.abc

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in PACKAGES:
            raise ModuleNotFoundError(f"{name} is not installed", name=name)

PACKAGES = json.loads(sys.argv[1])
sys.meta_path.insert(0, Absent())
socket.socket.connect = lambda *_: sys.exit("somebody was called")

from tasks.engines.in_process import options as in_process
from tasks.engines.registry import EngineSpec, declared_identity

specs = json.loads(sys.stdin.read())
print(json.dumps({kind: declared_identity(kind, EngineSpec(**spec)) for kind, spec in specs.items()}))
"""


def specs_of(profile: str) -> dict:
    engines = yaml.safe_load((ROOT / "profiles" / f"{profile}.yaml").read_text())["engines"]
    return {kind: spec for kind, spec in engines.items() if spec is not None}


def declared_alone(specs: dict, folder: Path) -> dict[str, str]:
    """By kind what a process says in which no package of the models can be imported and no one can be called."""
    asked = [sys.executable, "-W", "error", "-c", ALONE, json.dumps(PACKAGES)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(asked, input=json.dumps(specs), cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("profile", ["gpu", "gpu_one_server", "laptop", "local"])
def test_neither_packages_nor_weights_nor_servers_are_needed(profile, tmp_path):
    specs = specs_of(profile)
    assert len(specs) == (4 if profile == "local" else 5)
    alone = declared_alone(specs, tmp_path)
    assert alone == {kind: declared_identity(kind, EngineSpec(**spec)) for kind, spec in specs.items()}
    assert not any("\n" in line for line in alone.values())


def test_a_worker_with_a_gpu_and_one_without_declare_the_same(monkeypatch):
    torch = pytest.importorskip("torch")
    specs = specs_of("gpu")
    said = []
    for gpus in (0, 2):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpus=gpus: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda gpus=gpus: gpus)
        said.append([declared_identity(kind, EngineSpec(**spec)) for kind, spec in specs.items()])
    for kind in ("detector", "tracker"):
        for device in ("cpu", "cuda", "cuda:1", "auto"):
            options = {**specs[kind]["options"], "device": device}
            said.append([
                declared_identity(k, EngineSpec(**{**spec, **({"options": options} if k == kind else {})}))
                for k, spec in specs.items()
            ])  # fmt: skip
    assert all(line == said[0] for line in said)


SERVED = {
    "model": "org/other", "revision": "mine-2", "temperature": 0.5, "seed": None, "max_tokens": 100,
    "structured": "none", "bound_strings": False, "extra_body": {"top_k": 1}, "max_reply_bytes": 9999,
}  # fmt: skip
SERVED_UNSEEN = {
    "base_url": "https://elsewhere/v1", "api_key_env": "KEY", "api_key_block": "block", "concurrency": 3,
    "connect_timeout_s": 9, "timeout_s": 9, "retries": 0, "max_wait_s": 1, "breaker_after": 1,
    "price_per_million_prompt": 5, "price_per_million_completion": 5,
}  # fmt: skip
LOOKS = {"prompts": "v2", "max_asks": 5, "frame_side": 100}
IMAGES = LOOKS | {"jpeg_quality": 50}
DINO = {
    "checkpoint": "another.pth", "revision": "mine-2", "config": "SwinB", "text_encoder": "bert-large-uncased",
    "text_encoder_revision": "abc", "box_threshold": 0.3, "text_threshold": 0.3, "nms_iou": 0.5, "shorter": 640,
    "longer": 1024, "precision": "fp32",
}  # fmt: skip
SAM2 = {
    "checkpoint": "another.pt", "revision": "mine-2", "config": "sam2.1_hiera_t", "image_size": 512,
    "precision": "bf16", "window": 64, "overlap": 4,
}  # fmt: skip
IN_PROCESS = {
    "checkpoint": "org/other", "revision": "mine-2", "precision": "bf16", "quantize": "4bit",
    "max_tokens": 100,
}  # fmt: skip
IN_PROCESS_UNSEEN = {"device": "cuda:1", "batch": 1}
HUB = {"implementation": "transformers", "checkpoint": "org/model"}

MODELS = {
    LanguageOptions: ({}, SERVED, SERVED_UNSEEN),
    CaptionerOptions: ({}, SERVED | IMAGES | {"sheet": 4}, SERVED_UNSEEN),
    VerifierOptions: ({}, SERVED | IMAGES | {"crop_side": 100, "mark_box": False, "several": 4}, SERVED_UNSEEN),
    in_process.LanguageOptions: ({"checkpoint": "org/m"}, IN_PROCESS, IN_PROCESS_UNSEEN),
    in_process.CaptionerOptions: ({"checkpoint": "org/m"}, IN_PROCESS | LOOKS | {"sheet": 4}, IN_PROCESS_UNSEEN),
    in_process.VerifierOptions: (
        {"checkpoint": "org/m"},
        IN_PROCESS | LOOKS | {"crop_side": 100, "mark_box": False, "several": 4},
        IN_PROCESS_UNSEEN,
    ),
    DinoOptions: ({"checkpoint": "a.pth"}, DINO | {"implementation": "transformers"}, {"device": "cuda:1", "batch": 1}),
    Sam2Options: (
        {"checkpoint": "a.pt"},
        SAM2 | {"implementation": "transformers"},
        {"device": "cuda:1", "vos_optimized": True, "offload_features": True, "max_objects": 1},
    ),
    embedded.LanguageOptions: ({}, {}, {}),
    embedded.VerifierOptions: ({}, {}, {}),
    embedded.DetectorOptions: ({}, {}, {}),
    embedded.TrackerOptions: ({}, {}, {}),
}
"""Options, the least they need, and another value of every field: of those that may change an answer, of the others."""


def test_every_model_of_the_registry_is_tried_here():
    named = {entry.options for kind in ENGINES.values() for entry in kind.values()}
    assert named == {f"{model.__module__}:{model.__name__}" for model in MODELS}


@pytest.mark.parametrize("model", MODELS, ids=lambda m: f"{m.__module__.split('.')[2]}-{m.__name__}")
def test_every_option_either_changes_what_is_declared_or_is_named_as_one_that_changes_no_answer(model, monkeypatch):
    monkeypatch.setattr("tasks.engines.options.load_prompt", lambda folder, name: "the same text")
    least, counted, unseen = MODELS[model]
    # A new option fails here until somebody has said which of the two it is.
    assert set(model.model_fields) == set(counted) | set(unseen)
    assert not set(counted) & set(unseen) and set(model.not_in_rows) == set(unseen)
    base = validate(model, least).declared()
    assert base.startswith(model.engine)
    said = {base}
    for name, value in counted.items():
        said.add(validate(model, {**least, name: value}).declared())
    assert len(said) == 1 + len(counted)
    for name, value in unseen.items():
        assert validate(model, {**least, name: value}).declared() == base, name


@pytest.mark.parametrize("model", [DinoOptions, Sam2Options])
def test_revision_tells_for_both_implementations_and_for_local_weights_too(model):
    for least in ({"checkpoint": "weights/a.pt"}, HUB, HUB | {"checkpoint": "/data/models/a"}):
        said = {validate(model, least | more).declared() for more in ({}, {"revision": "a"}, {"revision": "b"})}
        assert len(said) == 3


def test_the_version_of_an_engines_code_is_declared():
    for model, (least, *_) in MODELS.items():
        newer = type("Newer", (model,), {"engine": model.engine + "1"})
        assert validate(newer, least).declared() != validate(model, least).declared()


@pytest.mark.parametrize(
    "model", [CaptionerOptions, VerifierOptions, in_process.CaptionerOptions, in_process.VerifierOptions]
)
def test_the_text_of_a_prompt_is_declared_not_only_its_folder(model, monkeypatch):
    least, *_ = MODELS[model]
    before = validate(model, least).declared()
    asked = []

    def other(folder, name):
        asked.append((folder, name))
        return "other instructions"

    monkeypatch.setattr("tasks.engines.options.load_prompt", other)
    assert validate(model, least).declared() != before
    assert asked == [("v1", model.__name__.removesuffix("Options").lower())]


PATHS = ["/data/team-7/weights/a.pt", "~/team-7/a.pt", "../team-7/weights/a.pt", "team-7\\a.pt", "x/team-7/a.pt"]


@pytest.mark.parametrize("path", PATHS)
def test_of_a_path_the_last_part_is_declared_and_no_more(path):
    at_home = {"checkpoint": "a.pt"}
    for model in (DinoOptions, Sam2Options):
        for more in ({}, {"implementation": "transformers"}):
            there = validate(model, {"checkpoint": path, **more}).declared()
            assert "team-7" not in there and there == validate(model, {**at_home, **more}).declared()
        there = validate(model, {**at_home, "config": path}).declared()
        assert "team-7" not in there and there == validate(model, {**at_home, "config": "a.pt"}).declared()
    text = validate(DinoOptions, {**at_home, "text_encoder": path}).declared()
    assert "team-7" not in text and '"a.pt"' in text


def test_names_on_the_hub_and_of_servers_are_declared_whole():
    for model in (DinoOptions, Sam2Options):
        assert '"org/model"' in validate(model, HUB).declared()
    assert '"accounts/a/models/m"' in LanguageOptions(model="accounts/a/models/m").declared()
    assert "secret-place" not in LanguageOptions(model="/data/secret-place/qwen3").declared()


def test_what_lies_on_this_machines_disk_changes_nothing(tmp_path, monkeypatch):
    """`org/model` may be a folder here and a name on the hub there."""
    monkeypatch.chdir(tmp_path)
    before = [validate(model, HUB).declared() for model in (DinoOptions, Sam2Options)]
    (tmp_path / "org" / "model").mkdir(parents=True)
    assert [validate(model, HUB).declared() for model in (DinoOptions, Sam2Options)] == before
