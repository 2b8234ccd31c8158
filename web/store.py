"""A build's store as the pages read it: opened by its fingerprints, never written, locked or mended."""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from schemas import SCHEMA_VERSION, Captioned, Curated, Deduped, Tracked, Verified
from tasks.errors import UserError
from tasks.outcome import Case
from tasks.review.stage import ReviewSettings
from tasks.review.words import Reviewable
from tasks.stages import STAGES
from tasks.store.chunks import StageView
from tasks.store.folder import Folder
from tasks.store.rows import StageStore

_SPECS = {spec.name: spec for spec in STAGES}

_SHOWN = (Captioned, Verified, Tracked, Curated)
"""What a page shows of a clip besides the clip itself."""


class Build:
    """The last build of an out folder."""

    def __init__(self, out: str) -> None:
        """UserError where there has been no build, another version made it, or it lies in a bucket."""
        self.out = Folder(out)
        if not self.out.local:
            raise UserError(
                f"{out}: review and audit read clips from this machine's disk: copy the folder here, and review and "
                "build on in the copy (explore takes a bucket)"
            )
        self.work = self.out.below("work")
        try:
            saved = json.loads(self.work.read("build.json"))
            self.fingerprints: dict[str, str] = dict(saved["fingerprints"])
            self.settings: dict[str, Any] = saved["settings"]
            self.review = ReviewSettings.model_validate(self.settings.get("review", {}))
        except FileNotFoundError:
            raise UserError(f"no build in {out}: run `matrix_data build SOURCE --out {out}` first") from None
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{out}/work/build.json is damaged: run the build command again") from None
        if saved.get("schema") != SCHEMA_VERSION or "review" not in self.fingerprints:
            raise UserError(f"{out} was built by another version of matrix_data: run the build command again")
        self.dataset = self.out.below(f"dataset/{self.fingerprints['shard']}")
        self._chunk = lru_cache(maxsize=64)(self._open)
        """Chunks stay open: what was merged meanwhile they find again, and a row does not change."""

    def view(self, stage: str) -> StageView[Any]:
        """The rows of a stage, as they are now."""
        spec = _SPECS[stage]
        assert spec.record is not None
        return StageView(self.work, f"{stage}/{self.fingerprints[stage]}", spec.record, spec.link)

    def _open(self, stage: str, chunk: str) -> StageStore[Any]:
        return self.view(stage).chunks[chunk]

    def clips(self, clips: Sequence[str], chunk: str) -> dict[str, Reviewable]:
        """Curated clips of one chunk, by name: many cost hardly more than one. KeyError for one it does not have."""
        stages = {spec.record: spec.name for spec in STAGES}
        kinds = (Deduped, *_SHOWN)
        columns = [self._chunk(stages[kind], chunk).payloads(clips) for kind in kinds]
        return {cut.clip.clip_id: Reviewable(Case(cut.clip, (cut, *rest))) for cut, *rest in zip(*columns, strict=True)}
