"""How large everything is. `small` is for hours on two cores, `medium` for ten minutes of a GPU and hours of two cores,
`large` for a GPU alone, `smoke` for a test."""

from dataclasses import dataclass

from benchmarks.miniature.scenes import Film


@dataclass(frozen=True)
class Size:
    film: Film
    pictures: int
    """Rendered for training, two scenes each; a twentieth is held out for validation."""
    asked: int
    """Pictures to be sampled from, of a seed of their own, two prompts each."""
    heads: int
    blocks: int
    base_steps: int
    base_batch: int
    batch: int
    steps: int
    """These two of an arm."""
    sampling_steps: int
    max_tokens: int = 32
    workers: int = 0
    """Processes that read clips ahead."""
    held: int = 0
    """Batches that a base is trained on again and again, kept on the device; 0: all are read anew."""


SIZES = {
    "smoke": Size(
        Film(5, 32, 48, 2),
        pictures=12,
        asked=1,
        heads=1,
        blocks=4,
        base_steps=2,
        base_batch=2,
        batch=2,
        steps=2,
        sampling_steps=2,
        held=2,
    ),
    "small": Size(
        Film(13, 96, 144, 6),
        pictures=600,
        asked=33,
        heads=4,
        blocks=6,
        base_steps=4000,
        base_batch=8,
        batch=8,
        steps=500,
        sampling_steps=20,
    ),
    "medium": Size(
        Film(13, 96, 144, 6),
        pictures=1500,
        asked=33,
        heads=4,
        blocks=6,
        base_steps=6000,
        base_batch=64,
        batch=8,
        steps=500,
        sampling_steps=20,
        held=90,
    ),
    "large": Size(
        Film(17, 192, 288, 8),
        pictures=4000,
        asked=99,
        heads=8,
        blocks=12,
        base_steps=20000,
        base_batch=32,
        batch=32,
        steps=4000,
        sampling_steps=50,
        workers=8,
    ),
}

PRECISION = "bf16"
"""Of all models, as the 5B recipe has it: some processors multiply in it several times as fast as in fp32."""

TRAIN_SEED, ASKED_SEED = 1, 2
"""Of the scenes to train on, and of those to sample from."""
