"""What `matrix_train analyze` does with its words."""

import re
from pathlib import Path
from typing import Any

from rich.console import Console

from matrix_train.analyze.reading import NOTHING, Kept
from matrix_train.analyze.run import Analysis, Options
from matrix_train.backbones import backbone_class
from matrix_train.cli.commands import quieten_libraries, told_when_full
from matrix_train.config import Config, load_config
from matrix_train.data import Split, read_index
from matrix_train.errors import UserError
from matrix_train.export.trained import Trained, find_checkpoint, read_trained
from matrix_train.files import held
from matrix_train.fit.assembly import make_random_model
from matrix_train.fit.rundir import CONFIG_FILE

CONFIGS = Path(__file__).parents[1] / "configs"


def analyze_command(
    target: Path | None,
    model: str | None,
    overrides: list[str],
    out: Path,
    clips: int,
    steps: int,
    split: Split,
    generated: bool,
    labels: Path | None,
    keep_maps: str | None,
    profile: Path | None,
    console: Console,
) -> dict[str, Any]:
    """`analyze`, of a configuration's model, of what a run has made of it, or of a pipeline by its recipe."""
    kept = kept_of(keep_maps)
    if profile is not None and not generated:
        raise UserError("--profile names a tracker for clips that are made: give --generated too, or leave it out")
    quieten_libraries()
    config, trained = subject_of(target, model, overrides)
    read_index(config.data, split)  # a wrong data set is told before a model is loaded
    make_random_model(config)
    options = Options(out, clips, steps, split, generated, labels, kept, profile)
    with held(out), told_when_full("fewer data.frames or a smaller data.height and data.width take less"):
        return Analysis(config, options, trained, console).run()


def subject_of(target: Path | None, model: str | None, overrides: list[str]) -> tuple[Config, Trained | None]:
    """The configuration, and the weights of a run's newest checkpoint."""
    if model is not None:
        recipe = CONFIGS / backbone_class(model).released.recipe
        return load_config(recipe, [f"model.path={model}", *overrides]), None
    assert target is not None
    if not target.is_dir():
        return load_config(target, overrides), None
    if not (target / CONFIG_FILE).exists():
        raise UserError(f"{target} is not a run folder: it has no {CONFIG_FILE}")
    return load_config(target / CONFIG_FILE, overrides), read_trained(find_checkpoint(target, None))


def kept_of(text: str | None) -> Kept:
    """`7,11@0,25`: blocks 7 and 11 at steps 0 and 25. UserError."""
    if text is None:
        return NOTHING
    if not re.fullmatch(r"\d+(,\d+)*@\d+(,\d+)*", text):
        raise UserError(f"--keep-maps {text}: write blocks@steps, as 7,11@0,25")
    blocks, steps = (map(int, side.split(",")) for side in text.split("@"))
    return Kept.of(tuple(blocks), tuple(steps))
