"""What a run finds where settings leave something open: weights by content, a name on the hub by its commit."""

import shutil
from pathlib import Path

import pytest
import torch

from schemas.settings import validate
from tasks.engines.grounding_dino.engine import GroundingDino
from tasks.engines.sam2.engine import Sam2Tracker
from tasks.engines.weights import hub_commit
from tasks.store.folder import Folder
from tests.tasks.engines import tiny_dino, tiny_sam2

ENGINES = {
    "groundingdino": (GroundingDino, tiny_dino, "groundingdino"),
    "dino-transformers": (GroundingDino, tiny_dino, "transformers"),
    "sam2": (Sam2Tracker, tiny_sam2, "sam2"),
    "sam2-transformers": (Sam2Tracker, tiny_sam2, "transformers"),
}


@pytest.fixture(scope="module", params=ENGINES)
def saved(request, tmp_path_factory):
    """The class, and the options of two models of other weights."""
    made, tiny, implementation = ENGINES[request.param]
    folders = [tmp_path_factory.mktemp(f"{request.param}-{seed}") for seed in (1, 2)]
    return made, [tiny.save_tiny(folder, implementation, seed) for seed, folder in enumerate(folders)]


def make(kind, options):
    return kind(validate(kind.Options, options), Folder("/nowhere"))


def test_other_weights_of_the_same_name_are_told_apart_and_nothing_of_the_machine_is(saved):
    made, (one, two) = saved
    said = {make(made, one).resolved, make(made, two).resolved}
    assert len(said) == 2
    for line in said:
        assert "weights " in line and "\n" not in line
        assert str(Path(one["checkpoint"]).parent) not in line and "cpu" not in line


def test_what_says_only_how_or_what_settings_say_is_not_in_it(saved):
    made, (one, _) = saved
    plain = make(made, one).resolved
    assert plain == make(made, one | {"device": "auto", "precision": "bf16", "revision": "mine"}).resolved


def test_it_is_what_was_loaded_though_the_file_is_replaced_after(saved, tmp_path):
    made, (one, two) = saved
    at = Path(one["checkpoint"])
    folder = tmp_path / "model"
    shutil.copytree(at if at.is_dir() else at.parent, folder)
    here = one | {key: str(folder / Path(one[key]).name) for key in ("checkpoint", "config") if key in one}
    if at.is_dir():
        here["checkpoint"] = str(folder)
    running = make(made, here)
    loaded = running.resolved
    source = Path(two["checkpoint"])
    for file in source.glob("*.safetensors") if source.is_dir() else [source]:
        shutil.copy(file, folder / file.name)
    assert running.resolved == loaded == make(made, one).resolved
    assert make(made, here).resolved == make(made, two).resolved != loaded


def test_sizes_and_architectures_that_are_files_are_in_it(tmp_path):
    dino = tiny_dino.save_tiny(tmp_path / "dino", "groundingdino", 0)
    sizes = Path(dino["config"])
    before = make(GroundingDino, dino)
    assert ", sizes " in before.resolved
    # Another temperature fits the same weights and gives other boxes.
    sizes.write_text(sizes.read_text().replace('"temperature": 20', '"temperature": 10'))
    assert make(GroundingDino, dino).resolved != before.resolved
    sam2 = tiny_sam2.save_tiny(tmp_path / "sam2", "sam2", 0)
    config = Path(sam2["config"])
    first = make(Sam2Tracker, sam2)
    assert ", config " in first.resolved
    config.write_text(config.read_text() + "\n# another file\n")
    assert make(Sam2Tracker, sam2).resolved != first.resolved


def test_another_tokenizer_is_found_for_the_same_weights(tmp_path):
    options = tiny_dino.save_tiny(tmp_path, "groundingdino", 0)
    before = make(GroundingDino, options).resolved
    vocabulary = Path(options["text_encoder"]) / "vocab.txt"
    vocabulary.write_text(vocabulary.read_text().replace("[unused7]", "newword"))
    assert make(GroundingDino, options).resolved != before


COMMITS = ("a" * 40, "b" * 40)


def in_hub_cache(cache: Path, name: str, folders: list[Path]) -> Path:
    """The folders as commits of one name, `main` being the first; the file that says so."""
    home = cache / f"models--{name.replace('/', '--')}"
    for commit, folder in zip(COMMITS, folders, strict=True):
        shutil.copytree(folder, home / "snapshots" / commit)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(COMMITS[0])
    return home / "refs" / "main"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.mark.parametrize(("kind", "tiny"), [(GroundingDino, tiny_dino), (Sam2Tracker, tiny_sam2)])
def test_a_name_on_the_hub_is_found_as_the_commit_that_was_loaded(kind, tiny, tmp_path, cache):
    saved = [tiny.save_tiny(tmp_path / str(seed), "transformers", seed) for seed in (0, 1)]
    main = in_hub_cache(cache, "org/tiny", [Path(str(options["checkpoint"])) for options in saved])
    named = {**saved[0], "checkpoint": "org/tiny"}
    before = make(kind, named)
    assert before.resolved.startswith(f"weights {'a' * 12}")
    assert make(kind, named | {"revision": COMMITS[1]}).resolved.startswith(f"weights {'b' * 12}")
    main.write_text(COMMITS[1])  # the newest is another one now
    assert make(kind, named).resolved.startswith(f"weights {'b' * 12}")
    assert before.resolved.startswith(f"weights {'a' * 12}")
    assert make(kind, named).options.declared() == before.options.declared()


def test_a_text_encoder_on_the_hub_is_found_by_its_commit_too(tmp_path, cache):
    options = tiny_dino.save_tiny(tmp_path, "transformers", 0)
    text = tmp_path / "text"
    in_hub_cache(cache, "org/bert", [text, text])
    pinned = options | {"text_encoder": "org/bert", "text_encoder_revision": COMMITS[1]}
    assert make(GroundingDino, options | {"text_encoder": "org/bert"}).resolved.endswith(f"text {'a' * 12}")
    assert make(GroundingDino, pinned).resolved.endswith(f"text {'b' * 12}")
    (text / "config.json").unlink()  # a repository may hold a tokenizer and no more
    in_hub_cache(cache, "org/words", [text, text])
    assert hub_commit("org/words", None) == "a" * 12


def test_loading_is_what_finds_it(saved, monkeypatch):
    made, (one, _) = saved
    engine = make(made, one)
    monkeypatch.setattr(torch.nn.Module, "to", lambda *_: (_ for _ in ()).throw(RuntimeError("no device")))
    with pytest.raises(Exception, match="no device"):
        engine.resolved  # noqa: B018
    monkeypatch.undo()
    assert engine.resolved == make(made, one).resolved
