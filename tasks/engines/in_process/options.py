"""Settings of the engines that run a language or vision-language model of transformers in this process."""

from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from tasks.engines.options import CaptioningOptions, EngineOptions, Precision, VerifyingOptions, hub_name, is_local

VERSION = 1
"""Raised when this package asks or reads in another way, so that what was answered before does not count."""


class InProcessOptions(EngineOptions):
    """What the three engines share. Those that name the same model, device and precision load it once."""

    not_in_rows: ClassVar[frozenset[str]] = frozenset({"device", "batch"})
    loads: ClassVar[bool] = True

    checkpoint: str = Field(
        min_length=1,
        description="a model folder, or a hub name such as Qwen/Qwen3-VL-2B-Instruct; captioner and verifier need a "
        "vision-language model. Only safetensors are read",
    )
    revision: str | None = Field(
        default=None,
        min_length=1,
        description="commit or tag of a hub checkpoint, without it the newest is taken, whatever it is; of a local "
        "checkpoint a name of yours: another one begins the stage anew",
    )
    device: str = Field(default="auto", description="auto (CUDA where there is a GPU), cpu, cuda, cuda:N or mps")
    precision: Precision = Field(
        default="auto", description="auto, fp32, bf16 or fp16; auto is bf16 on a GPU, fp32 on a CPU"
    )
    quantize: Literal["none", "8bit", "4bit"] = Field(
        default="none", description="weights of fewer bits, by the package bitsandbytes; less memory, other answers"
    )
    max_tokens: int = Field(
        default=1536, ge=64, le=32_768, description="longest reply; in its last part texts and lists are brought to "
        "an end, so that it is never cut off"
    )  # fmt: skip
    batch: int = Field(
        default=8, ge=1, le=256, description="most questions at once; halved where the GPU's memory does not hold them"
    )

    def from_hub(self) -> tuple[tuple[str, str | None], ...]:
        return () if is_local(self.checkpoint) else ((self.checkpoint, self.revision),)

    def counted(self) -> dict[str, JsonValue]:
        return super().counted() | {"checkpoint": hub_name(self.checkpoint)}


class LanguageOptions(InProcessOptions):
    """`engines.language` named `transformers`. Its prompts are the caption stage's, and are counted there."""

    engine: ClassVar[str] = f"in-process-language/{VERSION}"


class CaptionerOptions(CaptioningOptions, InProcessOptions):
    """`engines.captioner` named `transformers`."""

    engine: ClassVar[str] = f"in-process-captioner/{VERSION}"


class VerifierOptions(VerifyingOptions, InProcessOptions):
    """`engines.verifier` named `transformers`."""

    engine: ClassVar[str] = f"in-process-verifier/{VERSION}"
