"""What every engine's settings have in common: they say by themselves what of them may change an answer.

An options model can be imported where neither torch nor a client of a server is installed, and reads no weights: a
stage's fingerprint needs nothing else of an engine.
"""

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from schemas.settings import Settings
from tasks.engines.prompts import load_prompt

Precision = Literal["auto", "fp32", "bf16", "fp16"]


class EngineOptions(Settings):
    """Settings of one engine. Every field counts, unless `not_in_rows` names it."""

    engine: ClassVar[str]
    """Which engine, and the version of its code: raised whenever the same model and settings would answer otherwise."""

    loads: ClassVar[bool] = False
    """Whether a model is loaded into this process, which then takes its memory and its time."""

    def counted(self) -> dict[str, JsonValue]:
        """The settings that may change an answer, by name. No path of a machine and no secret is among them."""
        counted: dict[str, JsonValue] = self.model_dump(mode="json", exclude=set(self.not_in_rows))
        return counted

    def from_hub(self) -> tuple[tuple[str, str | None], ...]:
        """Name and revision of what is loaded from the hub, as far as it is no folder of this machine."""
        return ()

    def declared(self) -> str:
        """One line that is another whenever an answer may be another, as far as settings tell; the same on any machine.

        UserError where they name a prompt that is not there.
        """
        settings = sorted(self.counted().items())
        return " ".join([self.engine, *(f"{name}={json.dumps(value, sort_keys=True)}" for name, value in settings)])


class PromptedOptions(EngineOptions):
    """Settings of engines that look at images and have instructions of their own."""

    prompt: ClassVar[str]
    """The engine's file in the folder that `prompts` names."""

    prompts: str = Field(default="v1", description="folder below tasks/engines/prompts with the engine's instructions")
    max_asks: int = Field(default=3, ge=1, le=10, description="answers to one question before it is given up")
    frame_side: int = Field(default=768, ge=64, le=4096, description="longer side of a frame as sent, in pixels")

    def counted(self) -> dict[str, JsonValue]:
        return super().counted() | {"prompts": f"{self.prompts}-{_digest_of(self.prompts, self.prompt)}"}


class CaptioningOptions(PromptedOptions):
    """Of a captioner."""

    prompt: ClassVar[str] = "captioner"

    frame_side: int = Field(default=512, ge=64, le=4096, description="longer side of an image as sent, in pixels")
    sheet: int = Field(
        default=1, ge=1, le=16, description="frames on one image, a contact sheet with their times; 1 sends each alone"
    )

    def counted(self) -> dict[str, JsonValue]:
        counted = super().counted()
        if self.sheet == 1:  # as before there was a choice: a stage that was begun then goes on
            return {name: value for name, value in counted.items() if name != "sheet"}
        return counted | {"sheet": f"{self.sheet}-{_digest_of(self.prompts, 'captioner_sheets')}"}


class VerifyingOptions(PromptedOptions):
    """Of a verifier."""

    prompt: ClassVar[str] = "verifier"

    crop_side: int = Field(default=448, ge=64, le=4096, description="longer side of the crop as sent, in pixels")
    mark_box: bool = Field(
        default=True, description="draw the candidate's box into the frame; the crop is never drawn on"
    )
    several: int = Field(
        default=1,
        ge=1,
        le=16,
        description="most boxes of a clip in one request, two images each; 1 asks box by box, as the paper does",
    )

    def counted(self) -> dict[str, JsonValue]:
        counted = super().counted()
        if self.several == 1:  # as before there was a choice: a stage that was begun then goes on
            return {name: value for name, value in counted.items() if name != "several"}
        return counted | {"several": f"{self.several}-{_digest_of(self.prompts, 'verifier_several')}"}


def _digest_of(folder: str, prompt: str) -> str:
    return hashlib.sha256(load_prompt(folder, prompt).encode()).hexdigest()[:12]


def is_local(name: str) -> bool:
    """Whether a name is a folder or file of this machine, or can be nothing else; if not, it is one on the hub."""
    return Path(name).expanduser().exists() or name.startswith(("/", ".", "~")) or name.count("/") > 1 or "\\" in name


def file_name(path: str) -> str:
    """The last part of a path: where a file lies on one machine says nothing about what is in it."""
    return PurePosixPath(path.replace("\\", "/")).name or path


def model_name(name: str) -> str:
    """A name that a server gives a model, as it is; of what can only be a path, the last part."""
    return file_name(name) if name.startswith(("/", ".", "~")) or "\\" in name else name


def hub_name(name: str) -> str:
    """The same for a name on the hub, which is an owner and a name. Looks at no disk: what is there changes nothing."""
    return model_name(name) if name.count("/") == 1 else file_name(name)
