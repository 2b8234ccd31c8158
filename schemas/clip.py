"""Sources as they were found, and the normalised clips cut out of them."""

from pydantic import Field

from schemas.base import ClipId, Count, Record, Sha256


class SourceVideo(Record):
    """One distinct content in the bucket (stage `scan`). Two files with the same bytes are one source with two URIs."""

    source_id: ClipId = Field(description="first 16 hex digits of the content digest")
    uris: tuple[str, ...] = Field(min_length=1, description="every name of this content, sorted; the first is read")
    digest: Sha256
    size_bytes: Count
    caption: str | None = Field(description="from the sidecar; None where a captioner has to write one")
    dataset: str = Field(description="where the video came from, e.g. 'hoigen', for the source mix of the report")
    license: str | None = None


class MediaFacts(Record):
    """What the container says about a source, read in a child process."""

    container: str
    codec: str
    pixel_format: str
    width: Count = Field(description="coded width in pixels, before rotation")
    height: Count
    rotation: int = Field(description="clockwise degrees to turn the coded frame for display: 0, 90, 180, 270")
    fps: float = Field(ge=0, description="average frame rate in 1/s")
    duration_s: float = Field(ge=0)
    frames: Count = Field(description="frames really decoded")
    has_audio: bool
    stream: Count = Field(default=0, description="index of the video stream that was taken, among all streams")
    bit_depth: Count = Field(default=8, description="bits of a colour component")
    transfer: str = Field(default="unknown", description="ffmpeg's name of the transfer function: smpte2084 is PQ")
    primaries: str = Field(default="unknown", description="... of the colour primaries")
    matrix: str = Field(default="unknown", description="... of the matrix from RGB to YUV")
    alpha: bool = Field(default=False, description="it has an alpha channel, and was laid on black")
    field_order: str = Field(
        default="progressive", description="tff, bff, or interlaced where the order is not known; made progressive"
    )
    pixel_aspect: float = Field(default=1.0, gt=0, description="width of a pixel over its height")
    clock_jumps: Count = Field(default=0, description="where the clock jumped or started again; no clip spans one")
    refused_packets: Count = Field(
        default=0, description="packets of the stream that the decoder could make nothing of"
    )
    damaged_frames: Count = Field(default=0, description="decoded frames that are in no clip because data was missing")


class Geometry(Record):
    """Map from displayed source pixels to clip pixels: `clip = source * scale - offset` (cover, then centre crop)."""

    source_width: Count = Field(description="displayed width in pixels, after rotation")
    source_height: Count
    scale: float = Field(gt=0)
    offset_x: float = Field(description="pixels cut off on the left, after scaling")
    offset_y: float


class Window(Record):
    """The stretch of the source that a clip shows."""

    scene: Count = Field(description="index of the scene (PySceneDetect cut) within the source")
    index: Count = Field(description="index of the window within the scene")
    source_frames: tuple[Count, ...] = Field(description="source frame index shown by each clip frame, non-decreasing")
    start_s: float = Field(ge=0)
    end_s: float = Field(ge=0)


class Clip(Record):
    """One normalised clip: fixed size, frame count and rate, on disk as an mp4 below the ingest stage."""

    clip_id: ClipId
    source: SourceVideo
    facts: MediaFacts
    window: Window
    geometry: Geometry
    path: str = Field(description="of the mp4, relative to the store's root, with forward slashes")
    media_digest: Sha256
    width: Count
    height: Count
    frames: Count
    fps: float = Field(gt=0)
    phash: tuple[ClipId, ...] = Field(description="64-bit perceptual hashes of evenly spaced frames, as hex")


class Stretch(Record):
    """A part of a source, in seconds since its first frame."""

    start_s: float = Field(ge=0)
    end_s: float = Field(ge=0)


class Ingested(Record):
    """Everything cut from one source (stage `ingest`, one row a source)."""

    facts: MediaFacts
    clips: tuple[Clip, ...] = Field(min_length=1)
    still: tuple[Stretch, ...] = Field(default=(), description="left out, since nothing moves there for whole windows")


class Deduped(Record):
    """A clip that is no near-duplicate of an earlier one (stage `dedupe`), as the stages after it know it."""

    clip: Clip
    group: ClipId = Field(description="source_id that names the videos that look alike; they stand on one side")
    near: tuple[ClipId, ...] = Field(
        default=(), description="other groups that its video looks like, each fixed before the link was seen"
    )
    nearest: ClipId | None = Field(description="the most similar earlier clip, if any was within reach")
    distance: Count | None = Field(description="Hamming distance to it in bits, mean over the hashed frames, rounded")


class SourceFile(Record):
    """One file as listed and hashed (stage `scan`)."""

    uri: str = Field(description="full name, without credentials")
    name: str = Field(description="path below the source's root, with forward slashes; what sidecars refer to")
    size_bytes: Count
    version: str = Field(description="modification time in ns, or the object store's etag")
    digest: Sha256
