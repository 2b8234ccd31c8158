"""What a profile may say about GroundingDINO."""

from typing import ClassVar, Literal

from pydantic import Field, JsonValue, model_validator

from tasks.engines.options import EngineOptions, Precision, file_name, hub_name, is_local


class DinoOptions(EngineOptions):
    """The detector of the GPU profile; each field with its default."""

    engine: ClassVar[str] = "grounding_dino/1"
    not_in_rows: ClassVar[frozenset[str]] = frozenset({"device", "batch"})
    loads: ClassVar[bool] = True

    implementation: Literal["groundingdino", "transformers"] = Field(
        default="groundingdino", description="'groundingdino' (the package groundingdino-py) or 'transformers'"
    )
    checkpoint: str = Field(
        min_length=1,
        description="groundingdino: path of a .safetensors or .pth file; transformers: a model folder, or a hub name "
        "such as IDEA-Research/grounding-dino-base; MM-GroundingDINO and LLMDet too",
    )
    revision: str | None = Field(
        default=None,
        min_length=1,
        description="commit or tag of a hub checkpoint, without it the newest is taken, whatever it is; of a local "
        "checkpoint a name of yours: another one begins the stage anew",
    )
    config: str = Field(
        default="SwinT_OGC",
        min_length=1,
        description="groundingdino only: SwinT_OGC, SwinB, or path of a JSON file (docs/engines/grounding_dino.md)",
    )
    text_encoder: str | None = Field(
        default=None,
        min_length=1,
        description="folder or hub name of BERT's config.json and tokenizer; without it bert-base-uncased for "
        "groundingdino, the checkpoint's own tokenizer for transformers",
    )
    text_encoder_revision: str | None = Field(
        default=None, min_length=1, description="the same for the text encoder, where one is named"
    )
    box_threshold: float = Field(default=0.35, ge=0, le=1, description="a box's score for its noun must exceed this")
    text_threshold: float = Field(
        default=0.25, ge=0, le=1, description="the score of every single word of the noun must exceed this"
    )
    nms_iou: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="of one noun's boxes that overlap more than this the best stays; 1 keeps all",
    )
    shorter: int = Field(default=800, ge=32, le=4096, description="the frame's shorter side as the network sees it, px")
    longer: int = Field(default=1333, ge=32, le=8192, description="most pixels of its longer side; the aspect stays")
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N; auto is the GPU where there is one")
    precision: Precision = Field(
        default="auto", description="auto, fp32, bf16 or fp16; auto is bf16 on a GPU, fp32 on a CPU"
    )
    batch: int = Field(
        default=8, ge=1, le=256, description="most frames per forward; halved where the GPU's memory does not hold them"
    )

    @model_validator(mode="after")
    def _belongs(self) -> "DinoOptions":
        if self.longer < self.shorter:
            raise ValueError("longer must be at least shorter")
        if self.implementation == "transformers" and "config" in self.model_fields_set:
            raise ValueError(
                "config is for implementation: groundingdino; a transformers folder brings its config.json"
            )
        return self

    def from_hub(self) -> tuple[tuple[str, str | None], ...]:
        ported = self.implementation == "transformers" and not is_local(self.checkpoint)
        return ((self.checkpoint, self.revision),) if ported else ()

    def counted(self) -> dict[str, JsonValue]:
        checkpoint = (file_name if self.implementation == "groundingdino" else hub_name)(self.checkpoint)
        text = self.text_encoder and hub_name(self.text_encoder)
        return super().counted() | {"checkpoint": checkpoint, "config": file_name(self.config), "text_encoder": text}
