"""Stage `ingest` on one file, and what the frames of its clips say."""

import hashlib
from pathlib import Path

from schemas import Clip, Ingested, Row, SourceVideo
from tasks.ingest.stage import IngestSettings, ingest
from tasks.media.clips import EncodeSettings, read_frames
from tasks.store.folder import Folder
from tests.tasks.ingest.striped import number_of

SMALL = IngestSettings(width=144, height=96, frames=9, fps=4, min_side=64, encode=EncodeSettings(preset="ultrafast"))


def source_of(path: Path, uri: str | None = None) -> SourceVideo:
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    return SourceVideo(
        source_id=digest[:16],
        uris=(uri or str(path),),
        digest=digest,
        size_bytes=len(data),
        caption=None,
        dataset="test",
    )


def run(path: Path, out: Path, settings: IngestSettings = SMALL) -> Row[Ingested]:
    (row,) = ingest([source_of(path)], Folder(str(out)), "ingest/f/clips", settings)
    return row


def numbers(out: Path, clip: Clip) -> list[int]:
    """What the clip's frames say their source frames are, found by way of its geometry."""
    g = clip.geometry
    left, block = g.source_width / 4 * g.scale - g.offset_x, g.source_width / 16 * g.scale
    return [number_of(f, left, block) for f in read_frames(out / clip.path)]


def clips_of(path: Path, out: Path, settings: IngestSettings = SMALL) -> tuple[Clip, ...]:
    """The clips of a source that has some."""
    row = run(path, out, settings)
    assert row.payload is not None, f"{row.reason}: {row.detail}"
    return row.payload.clips
