"""One file of each kind that a real bucket holds and nobody wants, with what the pipeline must say of it.

Most are 640×360 at 10 frames a second, to keep a demo quick; their names start with `extra_` and sort after the good
ones. `expect` in their truth is the reason code, or 'accept' where the pipeline has to repair them.
"""

import random
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from schemas.truth import FrameRange, Level, VideoTruth
from tasks.world.encode import FASTSTART, H264, LOW, MKV, ODD, TEN_BIT, Format, turn_display, write_audio, write_video
from tasks.world.film import expectation, film, no_masks, save_truth
from tasks.world.scene import Scene
from tasks.world.staging import make_scene

Row = tuple[str, bytes]
"""A sidecar row: file name and caption bytes."""


class _Maker:
    """Renders the files one by one; every file gets its own seed."""

    def __init__(self, out: Path, seed: int, level: Level) -> None:
        self.out, self.seed, self.level = out, seed, level
        self.rows: list[Row] = []

    def raw(self, name: str) -> Path:
        return self.out / "raw" / name

    def scene(self, size: tuple[int, int] = (640, 360), rate: Fraction = Fraction(10)) -> Scene:
        """The next scene whose triplets pass the default filter."""
        while True:
            self.seed += 1
            scene = make_scene(self.seed, self.level, size=size, rate=rate, cut=False)
            if any(t.contact >= 3 and t.dynamism >= 2 for t in scene.caption.triplets):
                return scene

    def video(self, name: str, scene: Scene, form: Format = H264, keep: list[int] | None = None) -> VideoTruth:
        masks = no_masks(scene)
        write_video(self.raw(name), film(scene, masks, keep), scene.rate, form)
        return scene.truth(name, masks)

    def done(self, truth: VideoTruth, expect: str, row: bool = True) -> None:
        save_truth(self.out, truth.model_copy(update={"expect": expect}))
        if row:
            self.rows.append((truth.video, (truth.caption or "").encode()))

    def bare(self, name: str, expect: str, caption: str = "A man pushes a box.") -> None:
        """A file without anything to score."""
        self.done(VideoTruth(video=name, seed=self.seed, level=self.level, width=0, height=0, frames=0, fps=0.0,
                             caption=caption, expect=expect), expect)  # fmt: skip


def _empty(m: _Maker) -> None:
    m.raw("extra_empty.mp4").write_bytes(b"")
    m.bare("extra_empty.mp4", "empty_file")


def _no_header(m: _Maker) -> None:
    """An mp4 keeps its index at the end: cut off, nothing can be read."""
    path = m.raw("extra_no_header.mp4")
    m.video(path.name, m.scene())
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    m.bare(path.name, "undecodable")


def _cut(m: _Maker) -> None:
    for form, name in ((FASTSTART, "extra_cut.mp4"), (MKV, "extra_cut.mkv")):
        path = m.raw(name)
        truth = m.video(name, m.scene(), form)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        m.done(truth, "truncated")


def _text(m: _Maker) -> None:
    m.raw("extra_text.mp4").write_text("This is a note and not a video.\n" * 40, encoding="utf-8")
    m.bare("extra_text.mp4", "undecodable")


def _audio(m: _Maker) -> None:
    write_audio(m.raw("extra_audio.mp4"), 7.0)
    m.bare("extra_audio.mp4", "no_video_stream")


def _one_frame(m: _Maker) -> None:
    truth = m.video("extra_one_frame.mp4", m.scene(), keep=[0])
    m.bare(truth.video, "too_short")


def _wrong_suffix(m: _Maker) -> None:
    m.done(m.video("extra_really_mp4.avi", m.scene()), "accept")


def _odd(m: _Maker) -> None:
    m.done(m.video("extra_odd_size.mkv", m.scene((641, 479)), ODD), "accept")


def _variable(m: _Maker) -> None:
    """Frames fall out at random; those that stay keep their times."""
    scene = m.scene(rate=Fraction(20))
    rng = random.Random(scene.seed)
    keep = [n for n in range(scene.count) if n in (0, scene.count - 1) or rng.random() < 0.6]
    truth = m.video("extra_variable_rate.mp4", scene, keep=keep)

    def index(frame: int) -> int:
        return sum(n < frame for n in keep)

    moved = tuple(
        t.model_copy(update={"start_frame": index(t.start_frame), "end_frame": index(t.end_frame),
                             "repeats": tuple(FrameRange(start=index(r.start), end=index(r.end)) for r in t.repeats)})
        for t in truth.triplets
    )  # fmt: skip
    seconds = scene.count / float(scene.rate)
    m.done(truth.model_copy(update={"frames": len(keep), "fps": len(keep) / seconds, "triplets": moved}), "accept")


def _rotated(m: _Maker) -> None:
    """Coded lying on its side, as telephones do; the header says how to turn it. Truth is as displayed."""
    scene = m.scene()
    name = "extra_rotated.mp4"
    masks = no_masks(scene)
    coded = ((np.ascontiguousarray(np.rot90(picture)), time) for picture, time in film(scene, masks))
    write_video(m.raw(name), coded, scene.rate, H264)
    turn_display(m.raw(name), scene.height)
    m.done(scene.truth(name, masks), "accept")


def _ten_bit(m: _Maker) -> None:
    m.done(m.video("extra_ten_bit.mp4", m.scene(), TEN_BIT), "accept")


def _twins(m: _Maker) -> None:
    truth = m.video("extra_twin_a.mp4", m.scene())
    m.done(truth, "accept")
    shutil.copyfile(m.raw(truth.video), m.raw("extra_twin_b.mp4"))
    m.done(truth.model_copy(update={"video": "extra_twin_b.mp4"}), "duplicate")


def _near(m: _Maker) -> None:
    """The same pictures, smaller, with less detail, in another container."""
    scene = m.scene()
    masks = no_masks(scene)
    pictures = list(film(scene, masks))
    write_video(m.raw("extra_near_a.mp4"), pictures, scene.rate, H264)
    m.done(scene.truth("extra_near_a.mp4", masks), "accept")
    small = ((np.asarray(cv2.resize(p, (480, 270)), dtype=np.uint8), t) for p, t in pictures)
    write_video(m.raw("extra_near_b.mkv"), small, scene.rate, LOW)
    truth = scene.truth("extra_near_b.mkv", no_masks(scene))
    m.done(truth.model_copy(update={"width": 480, "height": 270}), "near_duplicate")


def _bad_caption(m: _Maker) -> None:
    truth = m.video("extra_bad_caption.mp4", m.scene())
    m.done(truth.model_copy(update={"caption": None}), "bad_caption", row=False)
    m.rows.append((truth.video, b"A man in a caf\xe9 pushes a bo\xff\xfe box."))


def _strange_name(m: _Maker) -> None:
    m.done(m.video("extra a <id1> clip, 100%.mp4", m.scene()), "accept")


def _no_caption(m: _Maker) -> None:
    truth = m.video("extra_no_caption.mp4", m.scene())
    m.done(truth.model_copy(update={"caption": None}), "no_caption", row=False)


def _no_video(m: _Maker) -> None:
    m.bare("extra_missing.mp4", "no_video")


def _no_interaction(m: _Maker) -> None:
    m.seed += 1
    scene = make_scene(m.seed, m.level, silent=True, size=(640, 360), rate=Fraction(10), cut=False)
    truth = m.video("extra_nothing_happens.mp4", scene)
    m.done(truth, expectation(truth))


KINDS: tuple[Callable[[_Maker], None], ...] = (
    _empty, _no_header, _cut, _text, _audio, _one_frame, _wrong_suffix, _odd, _variable, _rotated, _ten_bit, _twins,
    _near, _bad_caption, _strange_name, _no_caption, _no_video, _no_interaction,
)  # fmt: skip


def render_broken(out: Path, seed: int, level: Level) -> list[Row]:
    """Write one file (or pair) of each kind below `out/raw`, their truth, and return their sidecar rows."""
    maker = _Maker(out, seed, level)
    for make in KINDS:
        make(maker)
    return maker.rows
