"""What a run leaves for others: a LoRA that diffusers and ComfyUI load, the input projection, or a merged transformer.

    export(Path("runs/a"), Path("exports/a"))        # pytorch_lora_weights.safetensors, input_projection.safetensors
    pipe = load_into(DiffusionPipeline.from_pretrained(base), Path("exports/a"))                 # or runs/a itself
    merge(Path("runs/a"), Path("merged/a"))          # merged/a/transformer: one model, nothing to load into it

A LoRA file without alpha is loaded at strength 1, so α/r is folded into lora_B and every loader's alpha is the rank.
The decoders stay behind: they only served training. Formats and loaders: `docs/training/export.md`.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from matrix_train.backbones import Backbone, backbone_named, backbone_of
from matrix_train.config import DTYPES
from matrix_train.errors import UserError
from matrix_train.export.trained import Trained, find_checkpoint, open_safetensors, read_trained
from matrix_train.fit.safe import to_bytes

LORA_FILE = "pytorch_lora_weights.safetensors"
"""The name that diffusers looks for in a folder."""

PROJECTION_FILE = "input_projection.safetensors"
EXPORT_FILE = "export.json"
SCHEMA_VERSION = 1


def export(run: Path, out: Path, checkpoint: Path | None = None) -> Path:
    """Writes a run's LoRA, input projection and `export.json` to the folder `out`, which appears whole or not at all.

    checkpoint: one of the run's `checkpoints/step-*`, by default the last. Returns `out`. UserError without a run, a
    readable checkpoint, or an empty place for the result.
    """
    model = _model_settings(run)
    trained = read_trained(find_checkpoint(run, checkpoint))
    lora = trained.lora()
    adapter = {
        "transformer.r": trained.rank,
        "transformer.lora_alpha": trained.rank,
        "transformer.target_modules": sorted({name.split(".lora_")[0] for name in lora}),
    }
    # diffusers builds its LoRA from this entry; the plain ones are for people. Alpha is in the metadata alone:
    # diffusers refuses a file in which any tensor's name lacks "lora", as ComfyUI's `<module>.alpha` does.
    metadata = {
        "format": "pt",
        "lora_adapter_metadata": json.dumps(adapter, sort_keys=True),
        "rank": str(trained.rank),
        "alpha": str(trained.rank),
        "base_model": model["path"],
    }
    with _new_folder(out) as folder:
        adapters = {f"transformer.{name}": tensor for name, tensor in lora.items()}
        (folder / LORA_FILE).write_bytes(to_bytes(adapters, metadata))
        about = {"format": "pt", "base_model": model["path"]}
        (folder / PROJECTION_FILE).write_bytes(to_bytes(trained.projection(), about))
        _write_record(folder, "lora", model, trained)
    return out


def load_into(pipe: Any, run_or_export: Path, checkpoint: Path | None = None, adapter: str = "matrix") -> Any:
    """The pipeline's parts as one that takes `id_map`, the trained LoRA and input projection in its transformer.

    pipe: diffusers' image-to-video pipeline of the base model; its transformer is changed in place. run_or_export: a
    run folder (its last checkpoint, or the one given) or a folder that `export` wrote. Offloading is to be switched on
    afterwards. UserError where the weights were trained on another base model.
    """
    lora, projection = _exported(run_or_export, checkpoint)
    kind = backbone_of(type(pipe.transformer).__name__, pipe.transformer.config, "the pipeline")
    _install(kind, pipe.transformer, lora, projection)
    loaded = kind.pipeline(pipe)
    loaded.load_lora_weights({f"transformer.{name}": tensor for name, tensor in lora.items()}, adapter_name=adapter)
    return loaded


def load_trained(backbone: Backbone, run_or_export: Path, checkpoint: Path | None = None) -> None:
    """The trained LoRA and input projection in a backbone of the base model, as `load_into` puts them in a pipeline.

    UserError where the weights were trained on another base model.
    """
    lora, projection = _exported(run_or_export, checkpoint)
    _install(type(backbone), backbone.model, lora, projection)
    backbone.model.load_lora_adapter({f"transformer.{name}": tensor for name, tensor in lora.items()})


def merge(run: Path, out: Path, checkpoint: Path | None = None, base: str | None = None) -> Path:
    """Writes `out/transformer`: the base model with the LoRA added to its weights and the trained input projection.

    Stock diffusers loads it, with more `in_channels`, and so does the backbone. base: where the base model is now, by
    default the run's `model.path`. Weights are kept in the run's precision. Returns `out`. UserError as in `export`,
    and where the weights were trained on another base model.
    """
    model = _model_settings(run)
    trained = read_trained(find_checkpoint(run, checkpoint))
    with _new_folder(out) as folder:
        kind = backbone_named(trained.backbone)
        backbone = kind.load(base or model["path"], model["dtype"], None if base else model["revision"])
        merge_into(kind, backbone.model, trained)
        backbone.model.save_pretrained(folder / "transformer")
        _write_record(folder, "merged", model, trained)
    return out


@torch.no_grad()
def merge_into(kind: type[Backbone], model: Any, trained: Trained) -> None:
    """Adds the LoRA to the model's weights and puts the trained input projection into it. UserError where they were
    trained on another base model."""
    lora = trained.lora()
    _install(kind, model, lora, trained.projection())
    for name in sorted({name.split(".lora_")[0] for name in lora}):
        weight = model.get_submodule(name).weight
        update = lora[f"{name}.lora_B.weight"] @ lora[f"{name}.lora_A.weight"]
        weight.copy_(weight.float() + update)


def check_comfy_keys(file: Path, kind: type[Backbone]) -> list[str]:
    """Names in a LoRA file that a loader of diffusers names would leave out; empty when all is well.

    ComfyUI's way: for each module of the model, `<module>.lora_A.weight` with `<module>.lora_B.weight`, and
    `<module>.alpha` where there is one. Modules are those of the released model, under `transformer.`.
    """
    with open_safetensors(file) as opened:
        names = set(opened.keys())
    with torch.device("meta"):
        model = kind.model_class(**kind.released.config)
    loaded: set[str] = set()
    for module, layer in model.named_modules():
        pair = {f"transformer.{module}.lora_{side}.weight" for side in "AB"}
        if isinstance(layer, nn.Linear | nn.Conv2d) and pair <= names:
            loaded |= pair | {f"transformer.{module}.alpha"}
    return sorted(names - loaded)


def _exported(folder: Path, checkpoint: Path | None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """LoRA with α/r folded in and input projection, from an export or straight from a run."""
    if not (folder / LORA_FILE).exists():
        trained = read_trained(find_checkpoint(folder, checkpoint))
        return trained.lora(), trained.projection()
    found = []
    for file in (folder / LORA_FILE, folder / PROJECTION_FILE):
        with open_safetensors(file) as opened:
            found.append({name.removeprefix("transformer."): opened.get_tensor(name) for name in opened.keys()})  # noqa: SIM118
    return found[0], found[1]


def _install(kind: type[Backbone], model: Any, lora: dict[str, Tensor], projection: dict[str, Tensor]) -> None:
    """Grows the model's input projection and fills it. A shape that does not fit: UserError, nothing changed."""
    want: dict[str, tuple[int, ...]] = {}
    modules = dict(model.named_modules())
    for name, tensor in lora.items():
        module, side = name.split(".lora_")
        if module not in modules:
            raise UserError(f"trained on another base model: this one has no {module}")
        rows, columns = modules[module].weight.shape
        want[name] = (tensor.shape[0], columns) if side.startswith("A") else (rows, tensor.shape[1])
    known, wanted = model.config.in_channels, kind.input_channels(model.config)
    for part, parameter in kind.input_of(model).named_parameters():
        out, *rest = parameter.shape
        want[f"{kind.input_layer}.{part}"] = (out, *(rest and (rest[0] // known * wanted, *rest[1:])))
    got = {name: tuple(tensor.shape) for name, tensor in {**lora, **projection}.items()}
    for name in sorted(want.keys() | got.keys()):
        if want.get(name) != got.get(name):
            here, there = (shapes.get(name, "absent") for shapes in (want, got))
            raise UserError(f"trained on another base model: {name} should be {here}, is {there}")
    kind.grow_input(model)
    layer = kind.input_of(model)
    layer.load_state_dict({name.rpartition(".")[2]: tensor for name, tensor in projection.items()})
    layer.requires_grad_(False)


def _model_settings(run: Path) -> dict[str, Any]:
    """`model` of the run's effective config: path, revision and precision."""
    file = run / "config.yaml"
    try:
        model = yaml.safe_load(file.read_text(encoding="utf-8"))["model"]
        return {"path": str(model["path"]), "revision": model.get("revision"), "dtype": DTYPES[model["precision"]]}
    except FileNotFoundError:
        raise UserError(f"{run} is not a run folder: it has no config.yaml") from None
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
        raise UserError(f"{file}: not the config of a run: model.path and model.precision are needed") from None


def _write_record(folder: Path, kind: str, model: dict[str, Any], trained: Trained) -> None:
    """Where the weights beside it come from. `alpha` is training's; in the weights it is folded in already."""
    record = {
        "schema_version": SCHEMA_VERSION,
        "kind": kind,
        "backbone": trained.backbone,
        "base_model": model["path"],
        "base_revision": model["revision"],
        "rank": trained.rank,
        "alpha": trained.alpha,
        "blocks": trained.blocks,
        "checkpoint": trained.path.parent.name,
        "checkpoint_sha256": trained.sha256,
    }
    (folder / EXPORT_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of `out` at the end; after an error nothing is left."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not empty: give another folder for the result")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        folder = Path(scratch) / "folder"
        folder.mkdir()
        yield folder
        readable = folder.stat().st_mode & 0o666
        for file in folder.rglob("*.safetensors"):
            file.chmod(readable)  # safetensors writes them for their owner alone
        # Replaces an empty folder; fails where another process has filled it meanwhile.
        folder.rename(out)
