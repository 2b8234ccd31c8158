"""`layers.json`: what an analysis found of every block, and the settings that follow from it.

    matrix_train fit CONFIG --layers A/layers.json

takes `settings` before its own `--set`, which have the last word.
"""

import json
from pathlib import Path
from typing import Any

from matrix_train.config import Config
from matrix_train.errors import UserError

LAYERS_FILE = "layers.json"
SCHEMA_VERSION = 1


def settings_of(file: Path) -> list[str]:
    """The settings as `--set` values. UserError for another file than an analysis writes."""
    found = read_layers(file)
    return [f"{name}={json.dumps(value)}" for name, value in found["settings"].items()]


def read_layers(file: Path) -> dict[str, Any]:
    """UserError likewise."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"layers {file}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise UserError(f"layers {file}: not JSON: give the layers.json that `matrix_train analyze` wrote") from None
    if not isinstance(found, dict) or not isinstance(found.get("settings"), dict) or "backbone" not in found:
        raise UserError(f"layers {file}: holds no settings: give the layers.json that `matrix_train analyze` wrote")
    if found.get("schema_version") != SCHEMA_VERSION:
        raise UserError(f"layers {file}: of schema version {found.get('schema_version')}: analyze again")
    return found


def check_backbone(file: Path, config: Config) -> None:
    """UserError where another kind of model was analysed, whose blocks say nothing of this one's."""
    name = read_layers(file)["backbone"]
    model = config.model
    here = model.make_random if model.make_random and not Path(model.path).exists() else None
    from matrix_train.backbones import backbone_class  # imports diffusers, which takes seconds

    here = here or backbone_class(model.path, model.revision).name
    if name != here:
        raise UserError(f"layers {file}: of a {name}, but {model.path} is a {here}: analyze that one")
