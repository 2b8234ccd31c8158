"""What a profile may set of the SAM2 tracker."""

from typing import ClassVar, Literal

from pydantic import Field, JsonValue, model_validator

from tasks.engines.options import EngineOptions, Precision, file_name, hub_name, is_local

DEFAULT_CONFIG = "sam2.1_hiera_l"


class Sam2Options(EngineOptions):
    """Settings of `Sam2Tracker`."""

    engine: ClassVar[str] = "sam2/1"
    not_in_rows: ClassVar[frozenset[str]] = frozenset({"device", "vos_optimized", "offload_features", "max_objects"})
    loads: ClassVar[bool] = True

    implementation: Literal["sam2", "transformers"] = Field(
        default="sam2", description="the authors' package, or transformers' Sam2VideoModel"
    )
    checkpoint: str = Field(
        min_length=1,
        description="sam2: a .pt or .safetensors file; transformers: a model folder, or a name on the Hugging Face hub",
    )
    revision: str | None = Field(
        default=None,
        min_length=1,
        description="commit or tag of a name on the hub, default main; of a local checkpoint a name of yours: another "
        "one begins the stage anew",
    )
    config: str | None = Field(
        default=None,
        min_length=1,
        description=f"sam2: the architecture, sam2.1_hiera_t, _s, _b+ or _l (default {DEFAULT_CONFIG}), or a YAML file "
        "of the same form; transformers reads config.json instead",
    )
    image_size: int | None = Field(
        default=None,
        ge=64,
        le=4096,
        multiple_of=32,
        description="side in pixels of the square that frames are brought to; default: the architecture's, 1024",
    )
    device: str = Field(default="auto", description="auto (CUDA where there is a GPU), cpu, cuda or cuda:N")
    precision: Precision = Field(default="auto", description="auto is bf16 on CUDA and fp32 on a CPU; fp32, bf16, fp16")
    vos_optimized: bool = Field(
        default=False, description="compile the model's parts: some minutes at the first clip, faster after. CUDA only"
    )
    window: int = Field(
        default=128, ge=8, description="longer clips go in windows of so many frames; also bounds the kept features"
    )
    overlap: int = Field(
        default=8, ge=1, description="frames that two windows share; the newest mask in them prompts the next window"
    )
    offload_features: bool = Field(
        default=False, description="keep features that are needed a second time in the host's memory, not the GPU's"
    )
    max_objects: int = Field(
        default=16, ge=1, description="IDs tracked at once; halved by itself where CUDA's memory does not hold them"
    )

    @model_validator(mode="after")
    def _fits(self) -> "Sam2Options":
        if self.overlap * 2 > self.window:
            raise ValueError("overlap: at most half of window")
        if self.implementation == "transformers" and self.config is not None:
            raise ValueError("config: transformers reads the architecture from the model folder's config.json")
        if self.implementation == "transformers" and self.vos_optimized:
            raise ValueError("vos_optimized: only with implementation: sam2")
        return self

    def from_hub(self) -> tuple[tuple[str, str | None], ...]:
        ported = self.implementation == "transformers" and not is_local(self.checkpoint)
        return ((self.checkpoint, self.revision),) if ported else ()

    def counted(self) -> dict[str, JsonValue]:
        checkpoint = (file_name if self.implementation == "sam2" else hub_name)(self.checkpoint)
        return super().counted() | {"checkpoint": checkpoint, "config": self.config and file_name(self.config)}
