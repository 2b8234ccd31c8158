"""`v.json` beside `v.mp4`: all that made the video, enough to make it again, and to know that it need not be."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import Field, JsonValue, ValidationError

from matrix_train.errors import UserError
from matrix_train.files import file_sha256
from matrix_train.sample.job import Job
from matrix_train.sample.model import Source, Weights
from matrix_train.sample.picture import Picture
from schemas.settings import Settings
from schemas.text import one_line

SCHEMA_VERSION = 1


class SampleSettings(Settings):
    """How a video is made, whatever it shows."""

    frames: int = Field(ge=1, le=1025)
    height: int = Field(ge=16, le=4096)
    width: int = Field(ge=16, le=4096)
    fps: float = Field(gt=0, le=240)
    steps: int = Field(ge=1, le=1000)
    guidance: float = Field(ge=1, le=100, description="classifier-free; 1: none")
    cmg: float = Field(default=0.0, ge=0, le=100, description="s of CMG; 0: none")
    cag: float = Field(default=0.0, ge=0, le=100, description="s of CAG; 0: none")
    cmg_blocks: tuple[int, ...]
    cag_blocks: tuple[int, ...]
    tiling: bool = True
    compile: bool = False


class Record(Settings):
    """The file."""

    schema_version: int
    made_of: str
    """Digest of job, settings and weights, without paths and names."""
    mp4_sha256: str
    image_sha256: str
    """Of the picture's pixels."""
    job: Job
    """Its instances as masks, however they were given."""
    settings: SampleSettings
    source: Source
    weights: dict[str, JsonValue]
    device: str
    versions: dict[str, str]


def digest_of(job: Job, picture: Picture, settings: SampleSettings, weights: Weights) -> str:
    """Of all that decides what the video shows. Settings of a guidance that is off are no part of it."""
    off = {f"{kind}_blocks" for kind in ("cmg", "cag") if not getattr(settings, kind)}
    parts: dict[str, Any] = {
        "version": SCHEMA_VERSION,
        "job": job.model_dump(mode="json", include={"prompt", "seed", "noise", "roles"}),
        "image": picture.sha256,
        "masks": picture.rles(),
        "settings": settings.model_dump(mode="json", exclude=off),
        "weights": asdict(weights),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def record_file(mp4: Path) -> Path:
    return mp4.with_suffix(".json")


def is_done(mp4: Path, made_of: str) -> bool:
    """Whether the video is there, whole, and made of this. UserError where its record's place is taken."""
    file = record_file(mp4)
    try:
        content = file.read_bytes()
        record = Record.model_validate_json(content)
        return record.made_of == made_of and record.mp4_sha256 == file_sha256(mp4)
    except FileNotFoundError:
        return False
    except ValidationError:
        if b'"mp4_sha256"' in content:  # of another version
            return False
        raise UserError(f"{file} is no record of a video, and would be overwritten: give another --out") from None


def read_record(path: Path) -> Record:
    """UserError where it cannot be read, or is of another version."""
    try:
        found = Record.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"--again {path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        raise UserError(
            f"--again {path}: not the JSON beside a video of `matrix_train sample`: {one_line(error)}"
        ) from None
    if found.schema_version != SCHEMA_VERSION:
        raise UserError(f"--again {path}: of version {found.schema_version}, this matrix_train reads {SCHEMA_VERSION}")
    return found
