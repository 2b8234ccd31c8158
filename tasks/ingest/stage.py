"""Stage `ingest`: one source to normalised clips of fixed size, length and rate (docs/stages/ingest.md).

Decoding happens in a child process with limits on time and memory, once per source (tasks/ingest/child.py). This side
hands over the file, judges how the child ended, and writes the clips.
"""

import hashlib
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from urllib.parse import quote

from pydantic import Field

from schemas import Clip, Geometry, Ingested, MediaFacts, Reason, Record, Row, SourceVideo, Stretch, Window
from schemas.base import Count, Sha256
from schemas.settings import Settings
from tasks.errors import InfrastructureError, Reject
from tasks.ingest import sandbox
from tasks.media.clips import EncodeSettings
from tasks.outcome import settle
from tasks.scan.listing import ScanSettings, spool_of
from tasks.spec import Batch, StageSpec
from tasks.store.chunks import StageView
from tasks.store.folder import Folder
from tasks.store.index import Link
from tasks.store.places import file_system, local_path
from tasks.store.remote import Remote
from tasks.store.spool import counted, fetch

CHILD = "tasks.ingest.child:cut"
HEADER = struct.Struct("!Q")
"""Length of the JSON in front of the clips, in the child's reply."""


class IngestSettings(Settings):
    # Limits only decide which sources fail; `retry` after raising one must not redo all the others.
    not_in_rows = frozenset({"timeout_s", "memory_mb"})

    height: int = Field(default=480, ge=16, le=4096, multiple_of=2, description="Clip height in pixels")
    width: int = Field(default=720, ge=16, le=4096, multiple_of=2, description="Clip width in pixels")
    frames: int = Field(default=49, ge=1, le=1000, description="Frames in a clip")
    fps: float = Field(default=8.0, gt=0, le=120, description="Frames per second of a clip")
    scene_threshold: float = Field(
        default=27.0, gt=0, description="PySceneDetect's content threshold: lower finds more cuts"
    )
    scene_ratio: float = Field(
        default=5.0,
        gt=1,
        description="PySceneDetect's adaptive threshold: a change so many times the mean around it is a cut too",
    )
    scene_min_change: float = Field(
        default=9.0, gt=0, description="... if mean brightness, of 255, changes by at least this much"
    )
    max_gap_s: float = Field(
        default=1.0,
        gt=0,
        description="A longer step from one frame to the next, four times as long as those before, ends a scene; "
        "before a key frame a quarter of it is enough",
    )
    min_motion: float = Field(
        default=10.0,
        ge=0,
        description="Grey levels, of 255, by which some place of a clip must change, a thirtieth of the "
        "shorter side wide, or nothing moves in it; 0 takes still clips too",
    )
    max_windows_per_scene: int = Field(default=2, ge=1, description="Clips taken out of one scene at most")
    max_windows_per_source: int = Field(default=4, ge=1, description="Clips taken out of one source at most")
    min_side: int = Field(default=120, ge=16, description="Sources with a shorter side, in pixels, are too small")
    max_side: int = Field(default=8192, ge=16, description="Sources with a longer side, in pixels, are too large")
    max_duration_s: float = Field(default=3600.0, gt=0, description="Sources longer than this are too large")
    max_size_mb: float = Field(default=4096.0, gt=0, description="Larger sources are too large, in MiB")
    timeout_s: float = Field(default=300.0, gt=0, description="Wall and processor time for one source")
    memory_mb: int = Field(default=2048, ge=64, description="Memory for one source, in MiB")
    hashed_frames: int = Field(default=5, ge=1, le=64, description="Frames of a clip with a perceptual hash")
    encode: EncodeSettings = Field(default_factory=EncodeSettings, description="How clips are compressed")


def ingest(
    sources: Sequence[SourceVideo], root: Folder, media: str, settings: IngestSettings, scan: ScanSettings | None = None
) -> Iterator[Row[Ingested]]:
    """One row a source, in order, under its `source_id`; clips go to `media/<clip_id[:2]>/<clip_id>.mp4` below `root`.

    scan: how buckets are reached, and where scan left what it fetched. What the source does (hangs, crashes, lies about
    its length) rejects the source. What the disk or the store does is an OSError or an InfrastructureError.
    """
    for source in sources:
        yield settle(source.source_id, lambda s=source: _ingest(s, root, media, settings, scan or ScanSettings()))  # type: ignore[misc]


def _ingest(source: SourceVideo, root: Folder, media: str, settings: IngestSettings, scan: ScanSettings) -> Ingested:
    if source.size_bytes > settings.max_size_mb * 2**20:
        raise Reject(Reason.TOO_LARGE, f"{source.size_bytes / 2**20:.0f} MiB, more than {settings.max_size_mb:g}")
    facts, still, clips = cut_source(source, settings, scan)
    made = tuple(_write(*c, facts, source, root, media, settings) for c in clips)
    return Ingested(facts=facts, clips=made, still=still)


def cut_source(
    source: SourceVideo, settings: IngestSettings, scan: ScanSettings
) -> tuple[MediaFacts, tuple[Stretch, ...], list[tuple["Piece", bytes]]]:
    """What is known of the source, where it stands still, and its clips with their mp4. Raises Reject."""
    gone: Reject | None = None
    for copy in _copies(source, scan):
        try:
            with copy as path:
                return _cut(path, source, settings)
        except Reject as reject:
            if reject.reason is not Reason.UNREADABLE:
                raise
            gone = reject
    raise gone or Reject(Reason.UNREADABLE, "no file")


def _copies(source: SourceVideo, scan: ScanSettings) -> Iterator[AbstractContextManager[Path]]:
    """The same content under every name; the first that can be read will do. What scan kept of it goes first."""
    if any(local_path(uri) is None for uri in source.uris):
        yield _kept(source, scan)
    for uri in source.uris:
        path = local_path(uri)
        yield nullcontext(path) if path is not None else _fetched(uri, source, scan)


@contextmanager
def _kept(source: SourceVideo, scan: ScanSettings) -> Iterator[Path]:
    with spool_of(scan).take(source.digest) as path:
        if path is None:
            raise Reject(Reason.UNREADABLE, "not kept")
        yield path


@contextmanager
def _fetched(uri: str, source: SourceVideo, scan: ScanSettings) -> Iterator[Path]:
    """A copy for the time being, which needs its place however full the spool is."""
    counted["fetched_again"] += 1
    with spool_of(scan).place(source.size_bytes, whatever=True) as place:
        assert place is not None
        fs, path = file_system(uri, scan.storage_options)
        try:
            digest, _, whole = fetch(Remote(fs), path, place, source.size_bytes)
        except (FileNotFoundError, PermissionError) as error:
            raise Reject(Reason.UNREADABLE, f"{uri}: {error.strerror}") from error
        if digest != source.digest:
            raise Reject(Reason.UNREADABLE, "the content has changed since it was hashed; build again")
        if not whole:
            raise InfrastructureError(f"no room for {uri} in {place.path.parent}; set scan.spool_folder")
        yield place.path


class Piece(Record):
    """A window as the child reports it; `size` bytes of mp4 follow the report, in order."""

    window: Window
    geometry: Geometry
    phash: tuple[str, ...]
    size: Count


class Report(Record):
    """The child's answer: clips, or why there are none."""

    facts: MediaFacts | None = None
    pieces: tuple[Piece, ...] = ()
    still: tuple[Stretch, ...] = ()
    reason: Reason | None = None
    detail: str = ""
    disk: str | None = Field(default=None, description="an error of the file system, which is not the source's fault")


class Order(Record):
    """What the child is asked to do."""

    path: str = Field(description="percent-encoded, since a path need not be text")
    digest: Sha256
    settings: IngestSettings


def _cut(
    path: Path, source: SourceVideo, settings: IngestSettings
) -> tuple[MediaFacts, tuple[Stretch, ...], list[tuple[Piece, bytes]]]:
    """Have the child do its work. Raises Reject for what the source did to it."""
    order = Order(path=quote(os.fsencode(path)), digest=source.digest, settings=settings)
    limits = sandbox.Limits(settings.timeout_s, settings.memory_mb * 2**20)
    try:
        reply = sandbox.run(CHILD, order.model_dump_json().encode(), limits)
    except sandbox.ChildTimeout as error:
        raise Reject(Reason.DECODER_TIMEOUT, f"not done after {settings.timeout_s:g} s of {error}") from error
    except sandbox.ChildCrash as error:
        raise Reject(Reason.DECODER_CRASH, f"the decoder died of {error}") from error
    except sandbox.ChildMemory as error:
        raise Reject(Reason.TOO_LARGE, f"needs more than {settings.memory_mb} MiB of memory") from error
    (length,) = HEADER.unpack_from(reply)
    at = HEADER.size + length
    report = Report.model_validate_json(reply[HEADER.size : at])
    if report.disk is not None:
        raise InfrastructureError(report.disk)
    if report.reason is not None or report.facts is None:
        raise Reject(report.reason or Reason.UNDECODABLE, report.detail)
    clips = []
    for piece in report.pieces:
        clips.append((piece, reply[at : at + piece.size]))
        at += piece.size
    return report.facts, report.still, clips


def _write(
    piece: Piece,
    data: bytes,
    facts: MediaFacts,
    source: SourceVideo,
    root: Folder,
    media: str,
    settings: IngestSettings,
) -> Clip:
    clip_id = name_clip(source.digest, piece.window)
    path = f"{media}/{clip_id[:2]}/{clip_id}.mp4"
    root.write(path, data)
    return Clip(
        clip_id=clip_id,
        source=source,
        facts=facts,
        window=piece.window,
        geometry=piece.geometry,
        path=path,
        media_digest=hashlib.sha256(data).hexdigest(),
        width=settings.width,
        height=settings.height,
        frames=settings.frames,
        fps=settings.fps,
        phash=piece.phash,
    )


def name_clip(digest: str, window: Window) -> str:
    """First 16 hex digits of sha256 over the content's digest and the frames shown: names and settings play no part."""
    frames = ",".join(map(str, window.source_frames))
    return hashlib.sha256(f"{digest}|{frames}".encode()).hexdigest()[:16]


def _batch(work: Batch, keys: Sequence[str]) -> Iterator[Row[Ingested]]:
    select = work.store("select")
    sources = select.payloads(select.leading_to(keys))
    return ingest(sources, work.folder, work.media, work.settings, work.build.scan)


def _remarks(store: StageView[Ingested]) -> list[str]:
    """How much of the sources' time shows nothing that moves."""
    lengths = [
        part["end_s"] - part["start_s"]
        for row in store.columns(["payload.still.list.element.start_s", "payload.still.list.element.end_s"])
        for part in (row["payload"] or {}).get("still") or ()
    ]
    return [f"{len(lengths)} stretches, {sum(lengths):.0f} s, left out: nothing moves there"] if lengths else []


SPEC = StageSpec(
    name="ingest",
    version=4,
    settings=IngestSettings,
    record=Ingested,
    batch=_batch,
    link=Link("payload.clips.list.element.clip_id", lambda payload: [clip["clip_id"] for clip in payload["clips"]]),
    unit="videos",
    rejects={
        Reason.UNREADABLE: "no permission, or it changed or vanished since it was hashed",
        Reason.UNDECODABLE: "no decoder can read it",
        Reason.NO_VIDEO_STREAM: "it holds sound only",
        Reason.TRUNCATED: "it ends long before its header says",
        Reason.TOO_SHORT: "no scene is as long as one window",
        Reason.TOO_LARGE: "beyond the limits on duration, size, pixels or decoder memory",
        Reason.TOO_SMALL: "the shorter side has fewer pixels than allowed",
        Reason.NO_MOTION: "nothing moves in any of its windows",
        Reason.DECODER_TIMEOUT: "the decoder did not end in time",
        Reason.DECODER_CRASH: "the decoder died",
    },
    remarks=_remarks,
)
