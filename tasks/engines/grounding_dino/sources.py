"""What a profile names, checked and told apart without loading a weight: files, model folders, hub names."""

import importlib.metadata
import importlib.util
from pathlib import Path

from safetensors import SafetensorError, safe_open

from tasks.engines.grounding_dino.options import DinoOptions
from tasks.engines.weights import digest_of, hub_commit, local_folder, read_json
from tasks.errors import UserError

WHAT = "detector grounding_dino"
"""How errors name this engine."""

KINDS = ("grounding-dino", "mm-grounding-dino")
"""Types of model that implementation `transformers` reads, as their config.json names them; LLMDet is the second."""

BERT = "bert-base-uncased"
_PACKAGES = {"groundingdino": "groundingdino-py", "transformers": "transformers"}
_TOKENIZER = ("tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json")


def package_version(implementation: str) -> str:
    """Version of the package behind `implementation`. UserError where it is not installed."""
    if importlib.util.find_spec(implementation) is None:
        raise UserError(
            f"{WHAT}: implementation {implementation!r} needs the package {_PACKAGES[implementation]}: "
            "install with the extra `models` (docs/engines/README.md)"
        )
    return importlib.metadata.version(_PACKAGES[implementation])


def tokenizer_name(options: DinoOptions) -> tuple[str, str | None]:
    """Where config.json and tokenizer of the text encoder come from: folder or hub name, and revision."""
    if options.text_encoder is None and options.implementation == "transformers":
        return options.checkpoint, options.revision
    return options.text_encoder or BERT, options.text_encoder_revision


def check_files(options: DinoOptions) -> None:
    """UserError where local files are absent, damaged at first sight, or of another kind of model."""
    if options.implementation == "groundingdino":
        _check_checkpoint(Path(options.checkpoint).expanduser())
    else:
        folder = local_folder(options.checkpoint, WHAT)
        if folder is not None:
            _check_model_folder(folder)
    name, _ = tokenizer_name(options)
    folder = local_folder(name, WHAT)
    if folder is None:
        return
    if not any((folder / file).is_file() for file in _TOKENIZER[:2]):
        raise UserError(f"{WHAT}: text encoder {name} has neither tokenizer.json nor vocab.txt: put BERT's there")
    if options.implementation == "groundingdino":
        kind = read_json(folder / "config.json", WHAT).get("model_type")
        if kind != "bert":
            raise UserError(f"{WHAT}: text encoder {name} is of type {kind!r}: GroundingDINO needs BERT")


def digest(options: DinoOptions) -> tuple[str, str]:
    """Identities of weights and of text encoder: a digest of local content, else hub name and revision."""
    name, revision = tokenizer_name(options)
    return (
        _weights_digest(options) or f"{options.checkpoint}@{options.revision or 'newest'}",
        _text_digest(options) or f"{name}@{revision or 'newest'}",
    )


def found(options: DinoOptions) -> str:
    """What the settings left open, once the network is loaded: digests of local content, commits of hub names."""
    weights = _weights_digest(options) or hub_commit(options.checkpoint, options.revision)
    return f"weights {weights}, text {_text_digest(options) or hub_commit(*tokenizer_name(options))}"


def _weights_digest(options: DinoOptions) -> str | None:
    """None for a name on the hub."""
    if options.implementation == "groundingdino":
        return digest_of(Path(options.checkpoint).expanduser())
    folder = local_folder(options.checkpoint, WHAT)
    return digest_of(folder / "config.json", *sorted(folder.glob("*.safetensors"))) if folder else None


def _text_digest(options: DinoOptions) -> str | None:
    """None for a name on the hub."""
    folder = local_folder(tokenizer_name(options)[0], WHAT)
    if folder is None:
        return None
    return digest_of(*(folder / file for file in ("config.json", *_TOKENIZER) if (folder / file).is_file()))


def _check_checkpoint(path: Path) -> None:
    if path.is_dir():
        raise UserError(
            f"{WHAT}: {path} is a folder: name the .safetensors or .pth file, or set implementation: transformers"
        )
    if not path.is_file():
        raise UserError(f"{WHAT}: no checkpoint at {path}: download it, or correct the path in the profile")
    if path.suffix not in (".safetensors", ".pth", ".pt", ".bin"):
        raise UserError(f"{WHAT}: {path} is no checkpoint: it must end in .safetensors or .pth")
    if path.suffix == ".safetensors":
        names = {name.removeprefix("module.") for name in _names(path)}
        if "transformer.level_embed" not in names:
            other = ": it looks like transformers', set implementation: transformers and name its folder"
            raise UserError(
                f"{WHAT}: {path} is no checkpoint of groundingdino-py{other if 'model.level_embed' in names else ''}"
            )


def _check_model_folder(folder: Path) -> None:
    kind = read_json(folder / "config.json", WHAT).get("model_type")
    if kind not in KINDS:
        raise UserError(f"{WHAT}: {folder} holds a model of type {kind!r}, not {' or '.join(KINDS)}")
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pth")) or any(folder.glob("*.pt"))
        why = "only pickled weights, which are not loaded" if pickled else "no weights"
        raise UserError(f"{WHAT}: {folder} has {why}: put the model.safetensors of the checkpoint there")
    for file in files:
        _names(file)


def _names(path: Path) -> list[str]:
    """Tensor names of a safetensors file. Its header and its length are checked, its tensors are not read."""
    try:
        with safe_open(path, "pt") as file:
            return list(file.keys())
    except (SafetensorError, OSError, ValueError) as error:
        line = (str(error).splitlines() or [""])[0][:200]
        raise UserError(f"{WHAT}: {path} is damaged, download it again: {line}") from None
