"""What a user should know of a run that starts: nothing is wrong, but it may not be what was meant."""

from collections.abc import Iterator

from matrix_train.backbones import Backbone
from matrix_train.config import Config
from matrix_train.data import read_index
from matrix_train.fit.checkpoint import LENGTH, State


def notes_of(config: Config, backbone: Backbone, state: State | None) -> Iterator[str]:
    """Lines. state: of the checkpoint that the run goes on from."""
    steps, warmup = config.train.steps, config.optim.warmup
    if warmup > steps:
        yield f"a warm-up of {warmup} steps in a run of {steps} never reaches optim.lr"
    align = config.align
    if config.aligned and align.warmup > steps:
        yield f"a warm-up of λ of {align.warmup} steps in a run of {steps} never reaches align.sga and align.spa"
    if state is not None and state.settings[LENGTH] != steps:
        what = "the learning rate and λ go" if config.aligned and align.decay < 1 else "the learning rate goes"
        yield f"train.steps was {state.settings[LENGTH]}, is {steps}: {what} on along the new curve"
    tapped = {*(align.sga_blocks if align.sga else ()), *(align.spa_blocks if align.spa else ())}
    if tapped and tapped.isdisjoint(config.lora.blocks):
        blocks = ", ".join(map(str, sorted(tapped)))
        yield f"alignment reads blocks {blocks}, and lora.blocks has none of them"
    rates = sorted({row.fps for row in read_index(config.data, "train").rows})
    wrong = [rate for rate in rates if abs(rate / config.data.frame_step / backbone.fps - 1) > FPS_TOLERANCE]
    if wrong and config.model.make_random is None:  # random weights were made for no rate
        shown = ", ".join(f"{rate / config.data.frame_step:g}" for rate in wrong[:5])
        yield (
            f"clips of {shown} frames a second, but the model was made for {backbone.fps:g}: motion would look "
            "too fast or too slow; set data.frame_step, or build the dataset at another rate"
        )


FPS_TOLERANCE = 0.1
"""Share by which a clip's rate may differ from the model's, unnoticed by the eye."""
