"""What a run says of itself before it starts."""

from pathlib import Path

import pytest

from matrix_train.backbones.configured import plan_backbone
from matrix_train.fit.checkpoint import State, binding_settings
from matrix_train.fit.notes import notes_of
from tests.matrix_train.fitting import small_config


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ((), ()),
        (("optim.warmup=1", "train.steps=1"), ()),
        (("optim.warmup=7",), ("a warm-up of 7 steps in a run of 6 never reaches optim.lr",)),
        (("align.warmup=6",), ()),
        (("align.warmup=7",), ("a warm-up of λ of 7 steps in a run of 6 never reaches align.sga and align.spa",)),
        (("align.warmup=7", "align.sga=0", "align.spa=0"), ()),
        (("lora.blocks=[0]",), ("alignment reads blocks 1, 2, 3, and lora.blocks has none of them",)),
        (("lora.blocks=[0]", "align.sga=0", "align.spa=0"), ()),
        (("data.frame_step=3", "data.frames=1"), ()),
    ],
)
def test_notes(dataset: Path, tmp_path: Path, settings: tuple[str, ...], said: tuple[str, ...]) -> None:
    config = small_config(dataset, tmp_path, *settings)
    found = list(notes_of(config, plan_backbone(config), None))
    assert len(found) == len(said)
    assert all(text.startswith(start) for text, start in zip(found, said, strict=True))


def test_another_rate_than_the_models_is_told_unless_its_weights_are_random(dataset: Path, tmp_path: Path) -> None:
    made = small_config(dataset, tmp_path, "data.frame_step=3", "data.frames=1")
    real = made.model_copy(update={"model": made.model.model_copy(update={"make_random": None})})
    (said,) = notes_of(real, plan_backbone(real), None)
    assert said.startswith("clips of 2.66667 frames a second, but the model was made for 8")


def test_another_length_is_told(dataset: Path, tmp_path: Path) -> None:
    config = small_config(dataset, tmp_path, "train.steps=9")
    short = binding_settings(small_config(dataset, tmp_path))
    state = State(step=6, seconds=1.0, streams=[], settings=short)
    words = "train.steps was 6, is 9: the learning rate goes on along the new curve"
    assert list(notes_of(config, plan_backbone(config), state)) == [words]
    falling = small_config(dataset, tmp_path, "train.steps=9", "align.decay=0.5")
    (said,) = notes_of(falling, plan_backbone(falling), state)
    assert said.endswith("the learning rate and λ go on along the new curve")
