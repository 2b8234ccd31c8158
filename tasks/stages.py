"""The stages of a build, in order. A new one is a folder beside these and one line here (docs/extending.md)."""

import tasks.caption.stage
import tasks.curate.stage
import tasks.dedupe.stage
import tasks.ingest.stage
import tasks.propose.stage
import tasks.report.stage
import tasks.review.stage
import tasks.scan.stage
import tasks.select.stage
import tasks.shard.stage
import tasks.track.stage
import tasks.verify.stage
from tasks.spec import StageSpec

STAGES: tuple[StageSpec, ...] = (
    tasks.scan.stage.SPEC,
    tasks.select.stage.SPEC,
    tasks.ingest.stage.SPEC,
    tasks.dedupe.stage.SPEC,
    tasks.caption.stage.SPEC,
    tasks.propose.stage.SPEC,
    tasks.verify.stage.SPEC,
    tasks.track.stage.SPEC,
    tasks.curate.stage.SPEC,
    tasks.review.stage.SPEC,
    tasks.shard.stage.SPEC,
    tasks.report.stage.SPEC,
)
