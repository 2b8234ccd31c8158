"""What stage `ingest` runs in the child: bytes in, bytes out (see tasks/ingest/stage.py for both forms).

Every frame of the source is decoded once. A small copy goes to the cut detector; the frames that a clip shows are
fitted, and a window is compressed as soon as it is full.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from urllib.parse import unquote_to_bytes

import cv2

from schemas import Reason
from schemas.text import visible
from tasks.errors import Reject
from tasks.ingest.colours import has_alpha, over_black
from tasks.ingest.decode import Decoder, Shown
from tasks.ingest.fields import Deinterlacer
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
        raise Reject(Reason.UNREADABLE, f"{visible(path)}: {error.strerror}") from error
    except OSError as error:
        return Report(disk=visible(f"{path}: {error}"))
    if digest != order.digest:
        raise Reject(Reason.UNREADABLE, "the content has changed since it was hashed; build again")
    settings = order.settings
    # By descriptor: the name plays no part in how the content is read.
    max_gap = Fraction(settings.max_gap_s).limit_denominator(1000)
    decoder = Decoder(f"/proc/self/fd/{file}", settings.min_side, max_gap)
    taker = WindowTaker(
        Fitter(settings.width, settings.height), settings.frames, _rate(settings),
        settings.max_windows_per_scene, settings.max_windows_per_source, settings.min_motion,
    )  # fmt: skip
    pieces = []
    for taken in _windows(decoder, taker, settings):
        data = encode_clip(taken.pictures, _rate(settings), settings.encode)
        phash = hashes(taken.pictures, min(settings.hashed_frames, len(taken.pictures)))
        pieces.append(Piece(window=taken.window, geometry=taken.geometry, phash=phash, size=len(data)))
        clips.append(data)
    if not pieces:
        raise _nothing(decoder, taker, settings)
    return Report(facts=decoder.facts(), pieces=tuple(pieces), still=tuple(taker.still))


def _nothing(decoder: Decoder, taker: WindowTaker, settings: IngestSettings) -> Reject:
    if taker.still:
        seconds = sum(s.end_s - s.start_s for s in taker.still)
        most = f"at most {taker.most_motion:.1f} of 255 levels above noise, {settings.min_motion:g} are needed"
        return Reject(Reason.NO_MOTION, f"nothing moves in {seconds:.2f} s of windows: {most}")
    needed, there = settings.frames / settings.fps, f"in {float(decoder.end):.2f} s of video"
    lost = decoder.facts().damaged_frames
    left_out = f", {lost} frames of which are damaged or before the first key frame" if lost else ""
    return Reject(Reason.TOO_SHORT, f"no scene of {needed:.2f} s {there}{left_out}")


def _rate(settings: IngestSettings) -> Fraction:
    return Fraction(settings.fps).limit_denominator(1001)


def _windows(decoder: Decoder, taker: WindowTaker, settings: IngestSettings) -> Iterator[Taken]:
    tolerance = min(decoder.tick / 2, _HALF_MS)
    for shown, begins in scenes(decoder, settings):
        if not shown.index and decoder.promised_s > settings.max_duration_s:
            raise Reject(Reason.TOO_LARGE, f"{decoder.promised_s:.0f} s long, more than {settings.max_duration_s:g}")
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


def _pictures(decoder: Decoder) -> Iterator[Shown]:
    """Every frame as it is to be looked at: whole pictures, without transparency."""
    deinterlacer = Deinterlacer(decoder.unmarked_fields)
    for shown in decoder.frames():
        yield from map(_opaque, deinterlacer.see(shown))
    yield from map(_opaque, deinterlacer.rest())


def _opaque(shown: Shown) -> Shown:
    return replace(shown, frame=over_black(shown.frame)) if has_alpha(shown.frame) else shown


def scenes(decoder: Decoder, settings: IngestSettings) -> Iterator[tuple[Shown, bool]]:
    """Every frame, with whether a scene begins at it. Damage, a jump of the clock and a new size end a scene too."""
    cuts, before = None, None
    for shown in _pictures(decoder):
        same_size = before is not None and _form(before) == _form(shown)
        if cuts and not (same_size and shown.sound and not shown.jump):
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


def _form(shown: Shown) -> tuple[int, int, Fraction]:
    return *_size(shown), shown.pixel_aspect


def _size(shown: Shown) -> tuple[int, int]:
    return shown.frame.width, shown.frame.height


def _check_size(shown: Shown, settings: IngestSettings) -> None:
    width, height = _size(shown)
    if min(width, height) < settings.min_side:
        raise Reject(Reason.TOO_SMALL, f"{width}×{height}, shorter side below {settings.min_side}")
    if max(width, height) > settings.max_side:
        raise Reject(Reason.TOO_LARGE, f"{width}×{height}, longer side above {settings.max_side}")
