"""What the trainer reads and how it cuts it."""

from typing import Literal

from pydantic import Field, field_validator

from schemas.credentials import leaking_option, secret_in
from schemas.settings import Settings


class DataConfig(Settings):
    dataset: str = Field(description="folder of dataset.json, index.parquet and the shards; any fsspec URL")
    frames: int = Field(
        default=49, ge=1, le=1025,
        description="frames of a training clip: 1 more than a multiple of the model's, which is 4 or more",
    )  # fmt: skip
    height: int = Field(
        default=480, ge=16, le=4096,
        description="height of a training clip in pixels, a multiple of those under a token, 16 or 32",
    )  # fmt: skip
    width: int = Field(default=720, ge=16, le=4096, description="width of a training clip in pixels, likewise")
    frame_step: int = Field(default=1, ge=1, description="take every n-th frame of the stored clip, from its first on")
    flip: float = Field(
        default=0.0, ge=0, le=1,
        description="share of samples mirrored left to right. A caption that names a side is never mirrored, since "
        "mirroring would make it untrue; how many were left for that reason is counted",
    )  # fmt: skip
    prompt: Literal["plain", "tagged"] = Field(
        default="plain",
        description="plain is the caption, and SGA reads the words of the roles; tagged puts <id1> … <id5> before the "
        "nouns, and SGA reads these tokens alone, as in the released code: prompts of later sampling need them too",
    )
    max_tokens: int = Field(default=226, ge=8, description="length of the prompt in tokens, padding included")
    max_bad_share: float = Field(default=0.01, ge=0, le=1, description="bad entries above this share end the run")
    workers: int = Field(default=2, ge=0, description="processes that read ahead; 0 reads in the training process")
    storage_options: dict[str, str | int | bool] = Field(
        default={}, description="options of the fsspec file system; no credentials: those come from the environment"
    )

    # A run's folder and its loggers keep the configuration. No message repeats what was found.
    @field_validator("dataset")
    @classmethod
    def _fit_for_the_record(cls, address: str) -> str:
        if what := secret_in(address):
            raise ValueError(f"the address carries {what}, and it would go on record: {_HOW}")
        return address

    @field_validator("storage_options")
    @classmethod
    def _no_secrets(cls, options: dict[str, str | int | bool]) -> dict[str, str | int | bool]:
        if name := leaking_option(options):
            raise ValueError(f"{name} carries a password, a key or a token, and it would go on record: {_HOW}")
        return options


_HOW = "give credentials in the environment or in fsspec's configuration files (~/.config/fsspec)"


Split = Literal["train", "val"]
