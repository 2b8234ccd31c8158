"""Clips drawn and put through the stages by hand: real mp4 files and records, no engine, no store.

`make_case` is a clip with everything on record; `make_dataset` is a folder of shards made of such clips.
"""

import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from schemas import (
    Anchor,
    Box,
    Candidate,
    Captioned,
    Clip,
    Curated,
    Deduped,
    Geometry,
    Instance,
    Interaction,
    MediaFacts,
    Proposed,
    Rating,
    RoleSpans,
    Row,
    SourceVideo,
    Span,
    Track,
    Tracked,
    TrackNumbers,
    Verdict,
    Verified,
    Window,
)
from schemas.arrow import to_table
from schemas.dataset import IndexRow, Sharded
from tasks.media.clips import encode_mask
from tasks.outcome import Case
from tasks.review.words import NOTHING, Reviewable
from tasks.shard.stage import SPEC, ShardSettings
from tasks.store.chunks import StageView
from tasks.store.folder import Folder
from tasks.store.lease import lease
from tasks.store.rows import StageStore

FINGERPRINTS = {"ingest": "a" * 12, "caption": "b" * 12, "curate": "c" * 12}

ACTORS = ("man", "woman", "dog", "robot")
THINGS = ("ball", "box", "cup", "book", "bottle")
VERBS = ("pushes", "lifts", "carries", "kicks", "pulls", "holds")
COLOURS = (("red", (220, 50, 40)), ("blue", (40, 80, 220)), ("green", (40, 160, 70)), ("yellow", (235, 205, 50)))


def encode_mp4(frames: NDArray[np.uint8], fps: int = 8) -> bytes:
    """H.264 in mp4 of RGB frames [T, H, W, 3]; same frames, same bytes."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream(
            "libx264", rate=fps, options={"crf": "20", "threads": "1", "x264-params": "mbtree=0"}
        )
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


@dataclass(frozen=True)
class Drawn:
    """Frames [T, H, W, 3] and the masks [T, H, W] of every figure in them."""

    frames: NDArray[np.uint8]
    masks: tuple[NDArray[np.bool_], ...]


def draw(seed: int, things: int, frames: int, height: int, width: int) -> Drawn:
    """An actor and `things` things, which sway over a textured ground; the first thing overlaps the actor."""
    rng = np.random.default_rng(seed)
    ground = cv2.resize(
        rng.integers(90, 170, (6, 8, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
    )
    video, masks = np.repeat(ground[None], frames, 0), np.zeros((things + 1, frames, height, width), np.uint8)
    for t in range(frames):
        sway = width * 0.08 * np.sin(t / 3 + seed)
        x, y = width * 0.3 + sway, height * 0.55
        cv2.ellipse(masks[0, t], (round(x), round(y)), (height // 8, height // 3), 0, 0, 360, 1, -1)
        for k in range(1, things + 1):
            u, v, r = width * (0.25 + 0.2 * k) + sway / k, height * 0.6, height // 7
            cv2.rectangle(masks[k, t], (round(u - r), round(v - r)), (round(u + r), round(v + r)), 1, -1)
        for k, mask in enumerate(masks[:, t]):
            video[t][mask > 0] = COLOURS[(seed + k) % 4][1]
    if things > 1:
        masks[-1, frames // 2] = 0
    return Drawn(video, tuple(m.astype(bool) for m in masks))


def box_of(mask: NDArray[np.bool_]) -> Box:
    """Smallest box around a mask [H, W] that is not empty."""
    ys, xs = np.nonzero(mask)
    return Box(x0=int(xs.min()), y0=int(ys.min()), x1=int(xs.max()) + 1, y1=int(ys.max()) + 1)


def make_case(
    store: Folder,
    seed: int = 0,
    things: int = 1,
    frames: int = 9,
    height: int = 96,
    width: int = 144,
    note: str = "",
    uris: Sequence[str] = (),
    license: str | None = "CC-BY-4.0",
) -> Case:
    """A curated clip with an actor (id1) and `things` things (id2, …), one interaction each; its mp4 lies in `store`.

    `note` is put at the end of the caption. The clip has its source's size and frames, so the geometry is 1:1.
    """
    drawn = draw(seed, things, frames, height, width)
    mp4 = encode_mp4(drawn.frames)
    digest = hashlib.sha256(mp4).hexdigest()
    clip_id = hashlib.sha256(f"{digest} {seed} {note}".encode()).hexdigest()[:16]
    path = f"ingest/clips/{clip_id}.mp4"
    store.write(path, mp4)
    clip = Clip(
        clip_id=clip_id,
        source=SourceVideo(
            source_id=digest[:16], uris=tuple(uris) or (f"/bucket/video-{seed}.mp4",), digest=digest,
            size_bytes=len(mp4), caption=None, dataset=("hoigen", "pe-video")[seed % 4 == 3], license=license,
        ),
        facts=MediaFacts(
            container="mov,mp4", codec="h264", pixel_format="yuv420p", width=width, height=height, rotation=0, fps=8,
            duration_s=frames / 8, frames=frames, has_audio=False,
        ),
        window=Window(scene=0, index=0, source_frames=tuple(range(frames)), start_s=0, end_s=frames / 8),
        geometry=Geometry(source_width=width, source_height=height, scale=1, offset_x=0, offset_y=0),
        path=path, media_digest=digest, width=width, height=height, frames=frames, fps=8, phash=(),
    )  # fmt: skip
    captioned = _caption(seed, things, note)
    anchors = tuple(
        Anchor(id=f"id{k + 1}", frame=1, box=box_of(m[1]), score=0.9, confidence=0.8) for k, m in enumerate(drawn.masks)
    )
    verdicts = tuple(
        Verdict(
            asked=a.id, assigned_id=a.id, confidence=0.8, rationale="its colour fits",
            candidate=Candidate(noun=i.cls, frame=1, box=a.box, score=0.9),
        )
        for a, i in zip(anchors, captioned.instances, strict=True)
    )  # fmt: skip
    texts = tuple(a.text for a in captioned.interactions)
    tracks = tuple(
        Track(id=f"id{k + 1}", masks=tuple(encode_mask(m) for m in masks)) for k, masks in enumerate(drawn.masks)
    )
    numbers = tuple(
        TrackNumbers(
            id=t.id, visible_share=sum(m is not None for m in t.masks) / frames, longest_gap=0, area_jump=0.1,
            fragments=0, anchor_iou=0.95, side=0.2, same_class_iou=0,
        )
        for t in tracks
    )  # fmt: skip
    case = Case(
        clip,
        (
            Deduped(clip=clip, group=clip.source.source_id, nearest=None, distance=None),
            captioned,
            Proposed(frames=(1,), candidates=tuple(v.candidate for v in verdicts), detector="drawn/1"),
            Verified(anchors=anchors, interactions=texts, verdicts=verdicts, verifier="drawn/1"),
            Tracked(height=height, width=width, tracks=tracks, tracker="drawn/1"),
            Curated(ids=tuple(t.id for t in tracks), interactions=texts, numbers=numbers),
        ),
    )
    return unreviewed(case)


def unreviewed(case: Case) -> Case:
    """The clip as stage `review` lets it through where nobody has looked."""
    return case.plus(Reviewable(case).unreviewed(NOTHING))


def _caption(seed: int, things: int, note: str) -> Captioned:
    actor, nouns = ACTORS[seed % len(ACTORS)], [THINGS[(seed + k) % len(THINGS)] for k in range(things)]
    verbs = [VERBS[(seed // 2 + k) % len(VERBS)] for k in range(things)]
    names = [COLOURS[(seed + k) % 4][0] for k in range(things + 1)]
    subject = f"A {names[0]} {actor}"
    text = subject
    spans = []
    for k in range(things):
        text += " and " if k else " "
        verb = Span(start=len(text), end=len(text) + len(verbs[k]))
        text += f"{verbs[k]} "
        thing = f"a {names[k + 1]} {nouns[k]}"
        spans.append((verb, Span(start=len(text), end=len(text) + len(thing))))
        text += thing
    text += "."
    instances = tuple(
        Instance(id=f"id{k + 1}", cls=cls, noun=f"{names[k]} {cls}", app=f"It is {names[k]}.", spatial="")
        for k, cls in enumerate([actor, *nouns])
    )
    acts = tuple(
        Interaction(
            subject="id1", verb=verbs[k], object=f"id{k + 2}", text=f"<id1> {verbs[k]} <id{k + 2}>",
            type="functional action based interaction", source_sentence=text,
            spans=RoleSpans(subject=(Span(start=0, end=len(subject)),), verb=(verb,), object=(thing,)),
            rating=Rating(contact=3 + (seed + k) % 3, dynamism=2 + (seed + k) % 4, explanation="drawn", confidence=0.9),
        )
        for k, (verb, thing) in enumerate(spans)
    )  # fmt: skip
    return Captioned(
        caption=f"{text} {note}".rstrip(), caption_by="sidecar", counted=things, instances=instances,
        interactions=acts, prompts="drawn/1", model="drawn/1",
    )  # fmt: skip


def bare_clip(
    number: int, phash: tuple[str, ...] = (), uri: str | None = None, source: int | None = None, index: int = 0
) -> Clip:
    """A clip's record without a file; `number` makes its IDs, `source` that of its source where it is another."""
    made = SourceVideo(
        source_id=f"{source if source is not None else number:016x}", uris=(uri or f"/b/{number:05d}.mp4",),
        digest="0" * 64, size_bytes=1, caption=None, dataset="test",
    )  # fmt: skip
    facts = MediaFacts(
        container="mp4", codec="h264", pixel_format="yuv420p", width=9, height=9, rotation=0, fps=8, duration_s=1,
        frames=9, has_audio=False,
    )  # fmt: skip
    return Clip(
        clip_id=f"{number:016x}", source=made, facts=facts, path="x.mp4", media_digest="0" * 64, width=9, height=9,
        frames=9, fps=8, phash=phash,
        geometry=Geometry(source_width=9, source_height=9, scale=1, offset_x=0, offset_y=0),
        window=Window(scene=0, index=index, source_frames=(0,), start_s=0, end_s=1),
    )  # fmt: skip


@dataclass
class Sharding:
    """Stage `shard` over one chunk, as a build runs it: what it asks of its `Batch` and its `Whole`, and its rows."""

    work: Folder
    """Where the mp4 files lie."""
    dataset: Folder
    settings: ShardSettings
    chunk: str = "00000"

    fingerprints = FINGERPRINTS
    place = f"shard/{'d' * 12}"

    def __post_init__(self) -> None:
        self.rows = Folder(f"{self.dataset.root}-rows")
        """The record lies beside the dataset, so that each dataset has its own."""
        self.arrived: dict[str, Case] = {}

    def run(self, cases: Iterable[Case]) -> list[Row[Sharded]]:
        """Shard those of the cases that have no row, and publish; returns the new rows."""
        assert SPEC.before and SPEC.batch and SPEC.after
        self.arrived = {case.clip.clip_id: case for case in cases}
        new: list[Row[Sharded]] = []
        with lease(self.rows, self.place) as mine:
            assert mine
            SPEC.before(_All(self))
            store = self.store()
            keys = store.pending(sorted(self.arrived))
            try:
                if keys:
                    new.extend(SPEC.batch(self, keys))
            finally:  # as `run_batch` does: what is whole counts
                store.write(new)
            SPEC.after(_All(self))
        return new

    def store(self) -> StageStore[Sharded]:
        return StageStore(self.rows, f"{self.place}/{self.chunk}", Sharded)

    def cases(self, keys: Sequence[str]) -> list[Case]:
        return [self.arrived[key] for key in keys]

    def mp4(self, case: Case) -> bytes:
        return self.work.read(case.clip.path)


class _All:
    """The same for what sees all chunks."""

    def __init__(self, of: Sharding) -> None:
        self.of = of
        self.dataset, self.settings, self.fingerprints = of.dataset, of.settings, of.fingerprints

    def store(self) -> StageView[Sharded]:
        return StageView(self.of.rows, self.of.place, Sharded)


def make_dataset(
    root: Path, cases: Sequence[Case], settings: ShardSettings | None = None, dest: str = "dataset"
) -> Folder:
    """The dataset folder below `root` made of `cases`, whose mp4 files lie in `root/work`."""
    folder = Folder(str(root / dest))
    Sharding(Folder(str(root / "work")), folder, settings or ShardSettings(max_samples=3, val_share=0.25)).run(cases)
    return folder


def encode_index(rows: list[IndexRow]) -> bytes:
    """`index.parquet` of the rows, sorted by key. Same rows, same bytes for one pyarrow."""
    buffer = io.BytesIO()
    table = to_table(sorted(rows, key=lambda r: r.key), IndexRow)
    pq.write_table(table, buffer, compression="zstd", row_group_size=4096)
    return buffer.getvalue()
