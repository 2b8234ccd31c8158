"""Runs the real stages over a rendered world with engines put in by hand, and measures what came of it.

Everything between the engines is the pipeline's own: settings, fingerprints, the store, `run_batch`, the stages. A
build with other engines over the same folder shares the stages before them.
"""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from flows.batches import run_batch
from flows.chunk import Chunk
from flows.cli.world import outcomes, reached
from flows.context import Context
from flows.legs import SPECS
from flows.settings import BuildSettings
from schemas import Captioned, Curated, Tracked, Verified
from tasks.media.clips import decode_mask
from tasks.outcome import Case
from tasks.scan.cutting import cut_listing
from tasks.world import load_truth
from tasks.world.score.davis import region_iou
from tasks.world.score.score import SAME, Score, score
from tasks.world.score.truth_masks import TrueMasks, bounding_box
from tests.tasks.engines.perfect.models import NO_ERROR, Dial, PerfectDetector, PerfectTracker, PerfectVerifier
from tests.tasks.engines.perfect.oracle import Oracle, Scene

BATCH = 4

NO_FAULT = frozenset({"no_interaction", "too_many_ids"})
"""Reasons for which curate leaves out a track that it finds no fault with."""


class Given(Context):
    """A build whose engines may be given instead of made from the settings."""

    def __init__(self, settings: BuildSettings, **engines: Any) -> None:
        self._given = engines
        super().__init__(settings)

    def engine(self, kind: str) -> Any:
        return self._given.get(kind) or super().engine(kind)

    def declared(self, kind: str) -> str:
        return self._given[kind].identity if kind in self._given else super().declared(kind)


@dataclass
class World:
    """A rendered world, ingested and captioned once, to be grounded and tracked by many engines."""

    folder: Path
    settings: BuildSettings
    workers: int = 2
    oracle: Oracle = field(init=False)

    def __post_init__(self) -> None:
        self.truths = load_truth(self.folder)
        self.oracle = Oracle(self.truths)

    def begin(self) -> None:
        """Everything up to `caption`, with the embedded language model, whose F1 on `plain` is 1."""
        build = Given(self.settings)
        cut_listing(build.list_source(), build.folder.below(build.place("scan")), self.settings.run.chunk)
        self.run(build, "scan")
        self.whole(build, "select")
        self.run(build, "ingest")
        self.whole(build, "dedupe")
        self.run(build, "caption")
        self.oracle.learn(build)

    def go(
        self,
        dial: Dial = NO_ERROR,
        verifier: Any = None,
        stages: Sequence[str] = ("propose", "verify", "track", "curate", "review"),
    ) -> Given:
        """Run the stages after `caption` with engines that err by the dial; `verifier` in place of the perfect one."""
        # Each engine is told of its own errors only, so that runs share the stages that do not differ.
        build = Given(
            self.settings,
            detector=PerfectDetector(self.oracle, Dial(missed=dial.missed, swapped=dial.swapped, seed=dial.seed)),
            verifier=verifier or PerfectVerifier(self.oracle, Dial(wrong=dial.wrong, seed=dial.seed)),
            tracker=PerfectTracker(self.oracle, Dial(drifted=dial.drifted, drift=dial.drift, seed=dial.seed)),
        )
        for stage in stages:
            self.run(build, stage)
        return build

    def whole(self, build: Context, stage: str) -> None:
        run = SPECS[stage].whole
        assert run is not None
        with build.lease(stage):
            run(build.at_work(stage))

    def run(self, build: Context, stage: str) -> None:
        """One stage over all that has arrived, in batches side by side. Asserts that nothing is lost or left."""
        for name in build.survey().chunks(stage):
            chunk = Chunk(build, name)
            keys = chunk.arrived(stage)
            size = max(len(keys), 1) if SPECS[stage].together else BATCH
            batches = [keys[i : i + size] for i in range(0, len(keys), size)]
            with build.lease(stage, name), ThreadPoolExecutor(self.workers) as pool:
                for _ in pool.map(partial(run_batch, chunk, stage), batches):
                    pass
            tally = chunk.tally(stage)
            assert tally.pending == 0 and "poison" not in tally.rejected, tally

    def score(self, build: Context) -> Score:
        """Of a run whose clips have gone through `curate`; they go into shards first, which is where a clip ends."""
        self.run(build, "shard")
        return score(reached(build), self.truths, outcomes(build))


# ---- anchors


@dataclass(frozen=True)
class Anchored:
    """IDs that should have an anchor, those of them that have the right one, and those that have a wrong one."""

    wanted: int
    right: int
    wrong: int

    @property
    def recovered(self) -> float:
        return self.right / self.wanted


def anchored(build: Context, world: World, doubles_only: bool = False) -> Anchored:
    """Over all captioned clips: IDs whose thing shows in a sampled frame, against the anchors of stage `verify`.

    doubles_only: only IDs whose clip has another thing of the class, whose boxes can be swapped.
    """
    wanted = right = wrong = 0
    for case in reached(build):
        if case.get(Captioned) is None:
            continue
        scene = world.oracle.scenes[case.clip.clip_id]
        masks = TrueMasks(scene.truth, case.clip)
        anchors = {a.id: a for a in case.of(Verified).anchors} if case.get(Verified) else {}
        for true_id, name in scene.names.items():
            if doubles_only and not scene.alike(true_id):
                continue
            wanted += 1
            if name in anchors:
                seen = bounding_box(masks.at(scene.instances[true_id], anchors[name].frame))
                good = seen is not None and anchors[name].box.iou(seen) >= SAME
                right, wrong = right + good, wrong + (not good)
    return Anchored(wanted, right, wrong)


# ---- tracks


@dataclass
class Caught:
    """What curate did with tracks, held against where their masks lie.

    Bad: off its instance (IoU below one half) in a tenth of the clip's frames or more, 5 of 49. Slight: it left its
    instance, by the dial or in any frame, but less than that; dropping it or keeping it is no mistake. The rest are
    honest.
    """

    bad: int = 0
    bad_dropped: int = 0
    slight: int = 0
    slight_dropped: int = 0
    honest: int = 0
    honest_dropped: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    """What curate found against bad tracks."""
    false_faults: Counter[str] = field(default_factory=Counter)
    """What it found against honest ones."""
    missed: list[str] = field(default_factory=list)
    """Bad tracks that it let pass, a line each."""

    @property
    def recall(self) -> float:
        """Of the bad tracks, those dropped."""
        return self.bad_dropped / self.bad if self.bad else 0.0

    @property
    def precision(self) -> float:
        """Of the tracks dropped for a fault, those that had left their instance."""
        dropped = self.bad_dropped + self.slight_dropped
        return dropped / (dropped + self.honest_dropped) if dropped else 0.0


def caught(build: Given, world: World) -> Caught:
    """Every track of a run. Clips that curate rejected count by the faults in its detail."""
    found = Caught()
    tracker: PerfectTracker = build.engine("tracker")
    store = build.store("curate")
    details = {row.key: row.detail for row in store.read(list(store.rejected()))}
    for case in reached(build):
        if case.get(Tracked) is None or case.get(Verified) is None:
            continue
        faults = _faults(case.get(Curated), details.get(case.clip.clip_id, ""))
        anchors = {a.id: a for a in case.of(Verified).anchors}
        scene = world.oracle.scenes[case.clip.clip_id]
        true_ids = {ours: theirs for theirs, ours in scene.names.items()}
        for track in case.of(Tracked).tracks:
            overlaps = _overlaps(case, track.masks, true_ids.get(track.id), scene)
            off = sum(v < SAME for v in overlaps)
            drift = tracker.drift(scene, anchors[track.id])
            fault = faults.get(track.id)
            if off >= 0.1 * case.clip.frames:
                found.bad += 1
                found.bad_dropped += fault is not None
                found.faults.update([fault] if fault else [])
                if not fault:
                    what = f"{scene.name} {track.id}: {off} frames off, {drift}"
                    found.missed.append(f"{what}: {_numbers(case, track.id)}")
            elif drift is not None or off:
                found.slight += 1
                found.slight_dropped += fault is not None
            else:
                found.honest += 1
                found.honest_dropped += fault is not None
                found.false_faults.update([fault] if fault else [])
    return found


def _faults(curated: Curated | None, detail: str) -> dict[str, str]:
    """Fault per track that curate dropped for one."""
    if curated is not None:
        drops = [(d.what, d.reason) for d in curated.dropped]
    else:  # of a rejected clip only the detail is on record: "id1 growth (…): numbers; id2 fine: numbers"
        drops = [(part.split()[0], part.split()[1].rstrip(":")) for part in detail.split("; ") if part]
    return {who: reason for who, reason in drops if reason not in NO_FAULT | {"fine", "lost_instance"}}


def _overlaps(case: Case, masks: Sequence[str | None], true_id: str | None, scene: Scene) -> list[float]:
    """IoU of a track with its instance in the frames where either is to be seen; all 0 where it means none."""
    if true_id is None:
        return [0.0] * len(masks)
    height, width = case.clip.height, case.clip.width
    return [
        region_iou(decode_mask(rle, height, width), scene.mask(true_id, t))
        for t, rle in enumerate(masks)
        if rle is not None or scene.rle(true_id, t) is not None
    ]


def _numbers(case: Case, who: str) -> str:
    if case.get(Curated) is None:
        return "clip rejected for others"
    (n,) = (n for n in case.of(Curated).numbers if n.id == who)
    return " ".join(f"{k}={round(v, 3)}" for k, v in n.model_dump().items() if k != "id")
