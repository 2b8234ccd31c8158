"""All settings of a build, and how a profile, `--set` and the command line become one.

The flow's parameter is this model, so Prefect's run form shows it. Unknown keys are errors everywhere.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, create_model, field_validator

from schemas.credentials import leaking_option
from schemas.settings import Settings, name_of, override, parse_mapping, validate
from tasks.engines.registry import EngineSpec
from tasks.errors import UserError
from tasks.select.sidecar import SidecarSettings
from tasks.stages import STAGES
from tasks.store.places import OFF_THE_RECORD, local_uri, printable, refuse_credentials

PROFILES = Path(__file__).parent / "profiles"


class EnginesSettings(Settings):
    """The models behind the stages."""

    language: EngineSpec = Field(default=EngineSpec(), description="answers the four caption turns")
    captioner: EngineSpec | None = Field(default=None, description="writes captions for videos that bring none")
    verifier: EngineSpec = Field(default=EngineSpec(), description="says which ID a box shows")
    detector: EngineSpec = Field(default=EngineSpec(), description="proposes boxes for class nouns")
    tracker: EngineSpec = Field(default=EngineSpec(), description="propagates masks from anchors")


class RunSettings(Settings):
    """How the work is cut up and run. Nothing here changes a row, so nothing here is in a fingerprint."""

    workers: int = Field(default=2, ge=1, le=256, description="batches under way at once in this process")
    batch: int = Field(default=4, ge=1, le=4096, description="clips a batch, at the stages that go batch by batch")
    sources_batch: int = Field(default=2, ge=1, le=4096, description="source videos a batch at ingest")
    files_batch: int = Field(default=64, ge=1, le=4096, description="files a batch at scan")
    max_attempts: int = Field(default=3, ge=1, description="own failures after which a clip is rejected as poison")
    retries: int = Field(default=2, ge=0, description="Prefect retries of a batch that met an infrastructure failure")
    retry_delay_s: float = Field(default=5.0, ge=0, description="wait before such a retry, in seconds")
    give_up_after: int = Field(default=3, ge=1, description="batches lost to infrastructure in a row that end the run")
    chunk: int = Field(
        default=2000,
        ge=1,
        le=4096,
        description="files, videos or clips that are cut into one chunk and end up in one part of the store, for good",
    )
    stage_by_stage: bool = Field(
        default=False,
        description="one stage after the other over a chunk, its models let go of before the next: for little memory",
    )
    pools: dict[str, str] = Field(
        default={},
        description="Prefect work pool by stage: a flow run a chunk; one without goes with that before it",
    )
    limits: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default={}, description="most batches of a stage at once over all builds of a Prefect server, by stage"
    )

    task_runner: Literal["threads", "ray"] = Field(
        default="threads", description="what runs the batches of a chunk: threads of this process, or a Ray cluster"
    )
    gpus: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default={}, description="on Ray, GPUs that a batch of a stage holds, by stage; parts of one are shared"
    )

    @field_validator("pools", "limits", "gpus")
    @classmethod
    def _of_stages_with_batches(cls, by_stage: dict[str, Any]) -> dict[str, Any]:
        batched = [spec.name for spec in STAGES if spec.batch]
        if wrong := sorted(set(by_stage) - set(batched)):
            raise ValueError(f"no stage {wrong[0]!r} with batches: there are {', '.join(batched)}")
        return by_stage

    def size_of(self, unit: str) -> int:
        """Keys a batch, of files, videos or clips."""
        return {"files": self.files_batch, "videos": self.sources_batch, "clips": self.batch}[unit]


_of_stages: dict[str, Any] = {
    spec.name: (spec.settings, spec.settings()) for spec in STAGES if spec.settings.model_fields
}
StagesSettings = create_model("StagesSettings", __base__=Settings, **_of_stages)
"""The settings of every stage that has any, by its name."""


class BuildSettings(StagesSettings):  # type: ignore[misc, valid-type] # its fields are known when the stages are
    """One build: raw videos at `source` become a dataset under `out`."""

    source: str = Field(min_length=1, description="folder or bucket of raw videos, any fsspec URL")
    out: str = Field(
        min_length=1, description="folder of the store, the dataset and the report; the only place written to"
    )
    captions: str | None = Field(default=None, min_length=1, description="caption table: CSV, JSON, JSONL or Parquet")
    sidecar: SidecarSettings = SidecarSettings()
    engines: EnginesSettings = EnginesSettings()
    run: RunSettings = RunSettings()

    # Not a ValueError, of which pydantic and Prefect would make a longer text: the user reads these errors as they are.
    @field_validator("source", "out", "captions", mode="before")
    @classmethod
    def _fit_for_the_record(cls, address: object) -> object:
        if not isinstance(address, str):
            return address
        # A local name that is no UTF-8 is written as every record writes it.
        return refuse_credentials(address if address == printable(address) else local_uri(address))

    @field_validator("scan")
    @classmethod
    def _no_secret_options(cls, scan: Any) -> Any:
        if name := leaking_option(scan.storage_options):
            raise UserError(f"the option {name!r} carries a password, a key or a token, and {OFF_THE_RECORD}")
        return scan

    def of(self, stage: str) -> Settings:
        """The stage's own settings; those of one that has none are empty."""
        found: Settings = getattr(self, stage, Settings())
        return found


def load_settings(profile: str, overrides: list[str], **given: str | None) -> BuildSettings:
    """Profile file, then `--set a.b=c` in order, then what the command line gives. UserError names the bad key."""
    path = Path(profile) if profile.endswith((".yaml", ".yml")) else PROFILES / f"{profile}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in PROFILES.glob("*.yaml")))
        raise UserError(f"no profile {profile!r}: give a path to a .yaml file or one of: {known}")
    try:
        data = parse_mapping(path.read_text(encoding="utf-8"), f"profile {path}")
        for text in overrides:
            if text.partition("=")[0].split(".")[0] in given:
                raise UserError(
                    f"--set {name_of(text)!r}: source, captions and out are given on the command line itself"
                )
            override(data, text)
        data.update({k: v for k, v in given.items() if v is not None})
        return validate(BuildSettings, data)
    except UnicodeDecodeError:
        raise UserError(f"profile {path}: not valid UTF-8") from None
    except ValueError as error:
        raise UserError(str(error)) from None
