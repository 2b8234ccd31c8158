"""The sizes of a GroundingDINO network, as data.

groundingdino-py reads them from Python files, which it executes. A file from outside must not run: the two published
sizes are a table here, any other is a JSON file with the same fields.
"""

from pathlib import Path

from pydantic import Field, model_validator

from schemas.settings import Settings, validate
from tasks.engines.weights import read_json
from tasks.errors import UserError

HIDDEN = 256
"""Width of the transformer. groundingdino-py's position codes are written for this one."""


class Swin(Settings):
    """The image backbone, a Swin transformer of four stages."""

    image: int = Field(default=224, ge=32, le=1024, description="image size it was first trained with; its name has it")
    width: int = Field(default=96, ge=8, le=512, description="channels of the first stage, doubled by each further one")
    depths: tuple[int, int, int, int] = Field(default=(2, 2, 6, 2), description="blocks of each stage")
    heads: tuple[int, int, int, int] = Field(default=(3, 6, 12, 24), description="attention heads of each stage")
    window: int = Field(default=7, ge=2, le=32, description="side of an attention window, in patches")

    @model_validator(mode="after")
    def _divides(self) -> "Swin":
        if any(not 1 <= depth <= 64 for depth in self.depths):
            raise ValueError("depths must be 1 to 64")
        for stage, heads in enumerate(self.heads):
            if heads < 1 or (self.width << stage) % heads:
                raise ValueError(f"stage {stage} has {self.width << stage} channels, not a multiple of {heads} heads")
        return self


class Architecture(Settings):
    """All that shapes the network beside BERT, whose sizes come from the text encoder's config.json."""

    swin: Swin = Swin()
    stages: tuple[int, ...] = Field(default=(1, 2, 3), description="stages whose features are used: 3, 2–3, … 0–3")
    levels: int = Field(default=4, ge=2, le=8, description="feature levels, further ones by strided convolutions")
    queries: int = Field(default=900, ge=1, le=10_000, description="object queries: most boxes per frame and prompt")
    encoder_layers: int = Field(default=6, ge=1, le=64)
    decoder_layers: int = Field(default=6, ge=1, le=64)
    feedforward: int = Field(default=2048, ge=8, le=16_384, description="inner width of the transformer's blocks")
    heads: int = Field(default=8, ge=2, le=64)
    encoder_points: int = Field(default=4, ge=1, le=64, description="sampled places per head and level")
    decoder_points: int = Field(default=4, ge=1, le=64)
    temperature: int = Field(default=20, ge=1, description="of the sine position code, height and width alike")
    learned_queries: bool = Field(default=True, description="upstream's embed_init_tgt")
    shared_box_head: bool = Field(default=True, description="one box head for all decoder layers")
    shared_first_stage_box_head: bool = Field(default=False, description="… and for the encoder's proposals too")

    @model_validator(mode="after")
    def _fits(self) -> "Architecture":
        if self.stages not in ((0, 1, 2, 3), (1, 2, 3), (3,)):
            raise ValueError("stages must be [0, 1, 2, 3], [1, 2, 3] or [3]")
        if self.levels < len(self.stages):
            raise ValueError("levels must be at least the number of stages")
        if self.heads % 2 or HIDDEN % self.heads or (self.feedforward // 2) % (self.heads // 2):
            raise ValueError(f"heads must be even, divide {HIDDEN}, and half of them half of feedforward")
        if self.shared_first_stage_box_head and not self.shared_box_head:
            raise ValueError("shared_first_stage_box_head needs shared_box_head")
        return self


KNOWN: dict[str, Architecture] = {
    "SwinT_OGC": Architecture(),
    "SwinB": Architecture(
        swin=Swin(image=384, width=128, depths=(2, 2, 18, 2), heads=(4, 8, 16, 32), window=12),
    ),
}
"""The published checkpoints: groundingdino_swint_ogc and groundingdino_swinb_cogcoor."""


def architecture_of(config: str, what: str) -> Architecture:
    """The sizes for a profile's `config`. UserError for anything but a known name or a JSON file of this form."""
    if config in KNOWN:
        return KNOWN[config]
    path = Path(config).expanduser()
    if path.suffix == ".py":
        raise UserError(
            f"{what}: config {config!r} is Python code and is not run: use SwinT_OGC or SwinB, or write the sizes "
            "as JSON (docs/engines/grounding_dino.md)"
        )
    if path.suffix != ".json" or not path.is_file():
        raise UserError(f"{what}: config {config!r} is neither {' nor '.join(KNOWN)} nor a JSON file that is there")
    try:
        return validate(Architecture, read_json(path, what))
    except ValueError as error:
        raise UserError(f"{what}: config {config}: {str(error).removeprefix('settings: ')}") from None
