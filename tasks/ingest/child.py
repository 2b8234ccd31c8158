"""What stage `ingest` runs in the child: bytes in, bytes out (see tasks/ingest/stage.py for both forms).

Every frame of the source is decoded once. A small copy goes to the cut detector; the frames that a clip shows are
fitted, and a window is compressed as soon as it is full.
"""

import hashlib
import os
from collections.abc import Iterator
from fractions import Fraction
from urllib.parse import unquote_to_bytes

import cv2

from schemas import Reason
from tasks.errors import Reject
from tasks.ingest.decode import Decoder, Shown
from tasks.ingest.normalise import Fitter, Taken, WindowTaker
from tasks.ingest.scenes import Cuts
from tasks.ingest.stage import HEADER, IngestSettings, Order, Piece, Report
from tasks.media.clips import encode_clip
from tasks.media.phash import hashes

_HALF_MS = Fraction(1, 2000)

cv2.setNumThreads(1)


def cut(request: bytes) -> bytes:
    """Decode, cut and compress one source."""
    order = Order.model_validate_json(request)
    clips: list[bytes] = []
    try:
        report = _report(order, clips)
    except Reject as reject:
        report, clips = Report(reason=reject.reason, detail=reject.detail), []
    text = report.model_dump_json().encode()
    return HEADER.pack(len(text)) + text + b"".join(clips)


def _report(order: Order, clips: list[bytes]) -> Report:
    """The report; the clips' bytes are added to `clips`."""
    path = os.fsdecode(unquote_to_bytes(order.path))
    try:
        file = os.open(path, os.O_RDONLY)
        with open(file, "rb", closefd=False) as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except (FileNotFoundError, PermissionError) as error:
        raise Reject(Reason.UNREADABLE, f"{path}: {error.strerror}") from error
    except OSError as error:
        return Report(disk=f"{path}: {error}")
    if digest != order.digest:
        raise Reject(Reason.UNREADABLE, "the content has changed since it was hashed; build again")
    # By descriptor: the name plays no part in how the content is read.
    decoder = Decoder(f"/proc/self/fd/{file}")
    pieces = []
    for taken in _windows(decoder, order.settings):
        data = encode_clip(taken.pictures, _rate(order.settings), order.settings.encode)
        phash = hashes(taken.pictures, min(order.settings.hashed_frames, len(taken.pictures)))
        pieces.append(Piece(window=taken.window, geometry=taken.geometry, phash=phash, size=len(data)))
        clips.append(data)
    if not pieces:
        needed = order.settings.frames / order.settings.fps
        raise Reject(Reason.TOO_SHORT, f"no scene of {needed:.2f} s in {float(decoder.end):.2f} s of video")
    return Report(facts=decoder.facts(), pieces=tuple(pieces))


def _rate(settings: IngestSettings) -> Fraction:
    return Fraction(settings.fps).limit_denominator(1001)


def _windows(decoder: Decoder, settings: IngestSettings) -> Iterator[Taken]:
    if decoder.promised_s > settings.max_duration_s:
        raise Reject(Reason.TOO_LARGE, f"{decoder.promised_s:.0f} s long, more than {settings.max_duration_s:g}")
    taker = WindowTaker(
        Fitter(settings.width, settings.height, decoder.pixel_aspect), settings.frames, _rate(settings),
        settings.max_windows_per_scene, settings.max_windows_per_source,
    )  # fmt: skip
    tolerance = min(decoder.tick / 2, _HALF_MS)
    for shown, begins in scenes(decoder, settings):
        if not shown.sound:
            yield from taker.cut(None, shown.start)
        elif begins:
            yield from taker.cut(shown, shown.start)
        else:
            yield from taker.show(shown, tolerance)
        if taker.full:
            return
        if shown.start > settings.max_duration_s:
            raise Reject(Reason.TOO_LARGE, f"longer than {settings.max_duration_s:g} s")
    yield from taker.cut(None, decoder.end)


def scenes(decoder: Decoder, settings: IngestSettings) -> Iterator[tuple[Shown, bool]]:
    """Every frame, with whether a scene begins at it. Damage and a new size end a scene, as a cut does."""
    cuts, before = None, None
    for shown in decoder.frames():
        same_size = before is not None and _size(before) == _size(shown)
        if cuts and not (same_size and shown.sound):
            yield from cuts.rest()
            cuts = None
        if not same_size:
            _check_size(shown, settings)
        if shown.sound:
            cuts = cuts or Cuts(settings.scene_threshold, settings.scene_ratio, settings.scene_min_change)
            yield from cuts.see(shown)
        else:
            yield shown, False
        before = shown
    if cuts:
        yield from cuts.rest()


def _size(shown: Shown) -> tuple[int, int]:
    return shown.frame.width, shown.frame.height


def _check_size(shown: Shown, settings: IngestSettings) -> None:
    width, height = _size(shown)
    if min(width, height) < settings.min_side:
        raise Reject(Reason.TOO_SMALL, f"{width}×{height}, shorter side below {settings.min_side}")
    if max(width, height) > settings.max_side:
        raise Reject(Reason.TOO_LARGE, f"{width}×{height}, longer side above {settings.max_side}")
