import hashlib
import io
import json
import random
from fractions import Fraction
from pathlib import Path

import av
import fsspec
import numpy as np
import pytest

from schemas import Reason, Status
from tasks.errors import InfrastructureError
from tasks.ingest import sandbox, stage
from tasks.ingest.child import cut
from tasks.ingest.decode import Decoder
from tasks.ingest.stage import ingest, name_clip
from tasks.media.clips import EncodeSettings, encode_clip, read_frames
from tasks.store.folder import Folder
from tests.tasks.ingest.running import SMALL, numbers, run, source_of
from tests.tasks.ingest.scenery import place, view
from tests.tasks.ingest.striped import picture, write

REAL = Path(__file__).parents[4] / "shared" / "videos"


@pytest.fixture(scope="module", autouse=True)
def _end_helpers():
    yield
    sandbox.close()


def shown_at(times: list[Fraction], ticks: list[Fraction]) -> list[int]:
    return [max(i for i, t in enumerate(times) if t <= tick + Fraction(1, 2000)) for tick in ticks]


FORMS = {
    "h264.mp4": {},
    "bframes.mp4": {"options": {"preset": "medium", "bf": "3", "crf": "12"}},
    "h264.mkv": {},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"qscale": "2", "b": "4000000"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8", "b": "2000000"}},
    "stream.ts": {},
    "ten_bit.mp4": {"pixels": "yuv420p10le"},
    "full_chroma.mp4": {"pixels": "yuv444p"},
    "faststart.mov": {"muxer": {"movflags": "faststart"}},
}


@pytest.mark.parametrize("name", FORMS)
def test_source_frames_are_exact_in_every_container(tmp_path, name):
    path = write(tmp_path / name, [picture(i) for i in range(36)], **FORMS[name])
    row = run(path, tmp_path)
    assert row.status is Status.ACCEPTED, row.detail
    (clip,) = row.payload.clips
    assert list(clip.window.source_frames) == list(range(0, 27, 3))
    assert numbers(tmp_path, clip) == list(clip.window.source_frames)
    assert row.payload.facts.frames == 36 and (row.payload.facts.width, row.payload.facts.height) == (320, 240)
    data = (tmp_path / clip.path).read_bytes()
    assert hashlib.sha256(data).hexdigest() == clip.media_digest
    assert clip.path == f"ingest/f/clips/{clip.clip_id[:2]}/{clip.clip_id}.mp4"


@pytest.mark.parametrize("name", ["variable.mp4", "variable.mkv"])
def test_variable_frame_rate_is_resampled_by_time(tmp_path, name):
    rng = random.Random(3)
    times = [Fraction(0)]
    while len(times) < 60:
        times.append(times[-1] + Fraction(rng.choice([1, 2, 3, 7, 12]), 40))
    path = write(tmp_path / name, [picture(i) for i in range(60)], times)
    row = run(path, tmp_path)
    for clip in row.payload.clips:
        start = Fraction(clip.window.start_s).limit_denominator(4)
        assert list(clip.window.source_frames) == shown_at(times, [start + Fraction(k, 4) for k in range(9)])
        assert numbers(tmp_path, clip) == list(clip.window.source_frames)
    assert len(row.payload.clips) == 2


def test_slow_sources_repeat_frames(tmp_path):
    path = write(tmp_path / "slow.mp4", [picture(i) for i in range(6)], fps=2)
    (clip,) = run(path, tmp_path).payload.clips
    assert list(clip.window.source_frames) == [0, 0, 1, 1, 2, 2, 3, 3, 4] == numbers(tmp_path, clip)


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_rotation_is_applied_and_geometry_is_of_the_displayed_picture(tmp_path, turn):
    coded = [np.rot90(picture(i, 240, 320), turn // 90) for i in range(36)]
    row = run(write(tmp_path / "turned.mp4", coded, rotate=turn), tmp_path)
    (clip,) = row.payload.clips
    assert row.payload.facts.rotation == turn
    assert (clip.geometry.source_width, clip.geometry.source_height) == (240, 320)
    assert numbers(tmp_path, clip) == list(range(0, 27, 3))


@pytest.mark.parametrize(("width", "height"), [(321, 241), (176, 300), (640, 200), (120, 90)])
def test_geometry_leads_from_source_pixels_to_clip_pixels(tmp_path, width, height):
    options = {"deadline": "realtime", "cpu-used": "8", "b": "4000000"}
    pictures = []
    for i in range(36):
        image = picture(i, width, height)
        image[height // 2 - 8 : height // 2 + 8, width // 2 - 6 : width // 2 + 10] = (20, 40, 230)
        pictures.append(image)
    path = write(tmp_path / "odd.mkv", pictures, codec="libvpx-vp9", options=options)
    row = run(path, tmp_path)
    (clip,) = row.payload.clips
    g = clip.geometry
    frame = read_frames(tmp_path / clip.path)[4].astype(int)
    blue = (frame[..., 2] > 150) & (frame[..., 0] < 110) & (frame[..., 1] < 120)
    ys, xs = np.nonzero(blue)
    expected_x = (width // 2 + 2) * g.scale - g.offset_x
    expected_y = (height // 2) * g.scale - g.offset_y
    assert abs(xs.mean() + 0.5 - expected_x) < 1 and abs(ys.mean() + 0.5 - expected_y) < 1
    assert (frame.shape[1], frame.shape[0]) == (144, 96) == (clip.width, clip.height)


def test_windows_follow_one_another_and_never_cross_a_cut(tmp_path):
    pictures = [picture(i, tint=40) for i in range(40)]
    pictures += [picture(i, tint=200) for i in range(40, 70)]
    pictures += [picture(i, tint=30) for i in range(70, 130)]
    row = run(write(tmp_path / "cuts.mp4", pictures), tmp_path)
    spans = [(c.window.scene, c.window.source_frames[0], c.window.source_frames[-1]) for c in row.payload.clips]
    assert spans == [(0, 0, 24), (1, 40, 64), (2, 70, 94), (2, 97, 121)]
    for clip in row.payload.clips:
        assert numbers(tmp_path, clip) == list(clip.window.source_frames)


@pytest.mark.parametrize("name", ["alike.mp4", "alike.avi"])
def test_a_cut_between_places_that_look_alike_is_one(tmp_path, name):
    """Two grey walls with a block that moves over both."""
    pictures = [view(place(1 if i < 33 else 2), i) for i in range(70)]
    for i, image in enumerate(pictures):
        image[30:60, 20 + i : 50 + i] = (200, 40, 40)
    row = run(write(tmp_path / name, pictures, **FORMS.get({"alike.avi": "mpeg4.avi"}.get(name, ""), {})), tmp_path)
    spans = [(c.window.scene, c.window.source_frames[0]) for c in row.payload.clips]
    assert spans == [(0, 0), (1, 33)]


def test_each_source_is_opened_and_decoded_once(tmp_path, monkeypatch):
    """Facts, cuts, two clips and their hashes, out of one pass."""
    opened, decoded = [], []

    class Counting(Decoder):
        def __init__(self, path, *rest) -> None:
            opened.append(path)
            super().__init__(path, *rest)

        def _decode(self, packet):
            frames = super()._decode(packet)
            decoded.extend(f.pts for f in frames)
            return frames

    monkeypatch.setattr("tasks.ingest.child.Decoder", Counting)
    path = write(tmp_path / "a.mp4", [picture(i) for i in range(60)])
    order = stage.Order(path=str(path), digest=source_of(path).digest, settings=SMALL).model_dump_json().encode()
    reply = cut(order)
    (length,) = stage.HEADER.unpack_from(reply)
    report = stage.Report.model_validate_json(reply[stage.HEADER.size : stage.HEADER.size + length])
    assert len(report.pieces) == 2 and report.facts.frames == 60
    assert len(opened) == 1
    assert len(decoded) == len(set(decoded)) == 60


def test_limits_on_windows_hold(tmp_path):
    path = write(tmp_path / "long.mp4", [picture(i) for i in range(200)])
    one = run(path, tmp_path, SMALL.model_copy(update={"max_windows_per_scene": 1}))
    assert len(one.payload.clips) == 1 and one.payload.facts.frames == 200
    three = SMALL.model_copy(update={"max_windows_per_scene": 9, "max_windows_per_source": 3})
    assert [c.window.index for c in run(path, tmp_path, three).payload.clips] == [0, 1, 2]


def test_same_content_gives_same_clips_under_any_name_in_any_process(tmp_path):
    path = write(tmp_path / "a.mp4", [picture(i) for i in range(36)])
    other = tmp_path / "another <name>, 100% %03d.webm"
    other.write_bytes(path.read_bytes())
    first = run(path, tmp_path / "one")
    sandbox.close()
    second = run(other, tmp_path / "two")
    (a,), (b,) = first.payload.clips, second.payload.clips
    assert (a.clip_id, a.media_digest, a.phash) == (b.clip_id, b.media_digest, b.phash)
    assert a.clip_id == name_clip(a.source.digest, a.window)
    order = stage.Order(path=str(path), digest=a.source.digest, settings=SMALL).model_dump_json().encode()
    assert hashlib.sha256((tmp_path / "one" / a.path).read_bytes()).hexdigest() == a.media_digest
    assert cut(order).endswith((tmp_path / "one" / a.path).read_bytes())


def test_clips_carry_no_trace_of_encoder_or_date_and_keep_colours():
    image = np.zeros((96, 144, 3), np.uint8)
    image[:] = (200, 30, 30)
    image[:, 72:] = (20, 60, 220)
    data = encode_clip([image] * 5, Fraction(8), EncodeSettings())
    assert b"x264" not in data and b"Lavf" not in data
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(io.BytesIO(data)) as container:
        frame = next(container.decode(video=0))
        assert frame.colorspace == 1 and container.streams.video[0].average_rate == 8
        pixels = frame.to_ndarray(format="rgb24").astype(int)
    assert abs(pixels[48, 20] - image[48, 20]).max() < 8 and abs(pixels[48, 120] - image[48, 120]).max() < 8


def broken(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / "broken.mp4"
    pictures = [picture(i) for i in range(48)]
    if kind == "text":
        path.write_text("This is no video.\n" * 50)
    elif kind == "playlist":
        path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n")
    elif kind in ("cut mp4", "cut mkv", "cut avi", "no index"):
        made = write(tmp_path / f"whole.{kind.split()[-1] if kind != 'no index' else 'mp4'}", pictures,
                     codec="mpeg4" if kind == "cut avi" else "libx264",
                     muxer={"movflags": "faststart"} if kind == "cut mp4" else None)  # fmt: skip
        path.write_bytes(made.read_bytes()[: made.stat().st_size // 2])
    elif kind == "sound":
        with av.open(str(path), "w") as out:
            stream = out.add_stream("aac", rate=44100)
            for i in range(40):
                frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                frame.sample_rate, frame.pts = 44100, 1024 * i
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    elif kind == "one frame":
        write(path, pictures[:1])
    elif kind == "scenes too short":
        write(path, [picture(0, tint=40 + 180 * (i // 12 % 2)) for i in range(48)])
    elif kind == "tiny":
        write(path, [picture(i, 48, 48) for i in range(48)])
    elif kind == "long":
        write(path, pictures, [Fraction(i * 100) for i in range(48)])
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("text", Reason.UNDECODABLE), ("playlist", Reason.UNDECODABLE), ("no index", Reason.UNDECODABLE),
        ("cut mp4", Reason.TRUNCATED), ("cut mkv", Reason.TRUNCATED), ("cut avi", Reason.TRUNCATED),
        ("sound", Reason.NO_VIDEO_STREAM), ("one frame", Reason.TOO_SHORT), ("scenes too short", Reason.TOO_SHORT),
        ("tiny", Reason.TOO_SMALL), ("long", Reason.TOO_LARGE),
    ],
)  # fmt: skip
def test_broken_sources_are_rejected_for_what_is_wrong_with_them(tmp_path, kind, reason):
    row = run(broken(tmp_path, kind), tmp_path / "out")
    assert (row.status, row.reason) == (Status.REJECTED, reason), row.detail
    assert row.detail and not (tmp_path / "out").exists()


def test_damage_in_the_middle_does_not_get_into_a_clip(tmp_path):
    path = write(tmp_path / "a.mp4", [picture(i) for i in range(120)], options={"preset": "ultrafast", "g": "12"})
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 1000] = random.Random(1).randbytes(1000)
    path.write_bytes(data)
    clips = run(path, tmp_path).payload.clips
    assert [c.window.index for c in clips] == [0, 1, 0] and clips[1].window.end_s < 5 < clips[2].window.start_s
    for clip in clips:
        times = [round(12 * (clip.window.start_s + k / 4)) for k in range(9)]
        assert numbers(tmp_path, clip) == times


def test_a_decoder_that_hangs_or_dies_rejects_the_source_and_the_next_one_goes_on(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp4", [picture(i) for i in range(36)])
    for job, reason in (
        ("hang", Reason.DECODER_TIMEOUT),
        ("crash", Reason.DECODER_CRASH),
        ("greedy", Reason.TOO_LARGE),
    ):
        monkeypatch.setattr(stage, "CHILD", f"tests.tasks.ingest.sandbox_jobs:{job}")
        limit = 0.5 if job == "hang" else 30
        assert run(path, tmp_path, SMALL.model_copy(update={"timeout_s": limit})).reason is reason
    monkeypatch.undo()
    assert run(path, tmp_path).status is Status.ACCEPTED


def test_too_little_time_and_memory_for_a_real_decoder(tmp_path):
    path = write(tmp_path / "big.mp4", [picture(0, 1920, 1088)] * 60, options={"preset": "ultrafast", "crf": "40"})
    assert run(path, tmp_path, SMALL.model_copy(update={"timeout_s": 0.02})).reason is Reason.DECODER_TIMEOUT
    assert run(path, tmp_path, SMALL.model_copy(update={"max_size_mb": 0.001})).reason is Reason.TOO_LARGE


def test_infrastructure_is_never_the_sources_fault(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp4", [picture(i) for i in range(36)])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "ingest").write_text("a file where a folder has to be")
    with pytest.raises(OSError):
        run(path, tmp_path / "out")
    monkeypatch.setattr(stage, "CHILD", "tests.tasks.ingest.sandbox_jobs:killed")
    with pytest.raises(InfrastructureError):
        run(path, tmp_path)


def test_an_exception_in_the_child_is_a_failed_attempt(tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "CHILD", "tests.tasks.ingest.sandbox_jobs:wrong")
    row = run(write(tmp_path / "a.mp4", [picture(0)]), tmp_path)
    assert row.status is Status.FAILED and "no such codec" in row.detail


def test_a_source_that_changed_or_vanished_is_unreadable_unless_another_name_has_it(tmp_path):
    path = write(tmp_path / "a.mp4", [picture(i) for i in range(36)])
    copy = tmp_path / "b.mp4"
    copy.write_bytes(path.read_bytes())
    source = source_of(path).model_copy(update={"uris": (str(path), str(copy))})
    path.write_bytes(path.read_bytes() + b"more")
    root = Folder(str(tmp_path))
    assert [r.status for r in ingest([source], root, "m", SMALL)] == [Status.ACCEPTED]
    copy.unlink()
    (row,) = ingest([source], root, "m", SMALL)
    assert row.reason is Reason.UNREADABLE and "changed" in row.detail


def test_remote_sources_are_fetched_first_and_not_beyond_their_size(tmp_path):
    path = write(tmp_path / "a.mp4", [picture(i) for i in range(36)])
    fs = fsspec.filesystem("memory")
    fs.pipe("/ingest-test/a.mp4", path.read_bytes())
    source = source_of(path, "memory://ingest-test/a.mp4")
    (row,) = ingest([source], Folder(str(tmp_path)), "m", SMALL)
    assert row.payload.clips[0].clip_id == run(path, tmp_path).payload.clips[0].clip_id
    fs.pipe("/ingest-test/a.mp4", path.read_bytes() * 2)
    assert [r.reason for r in ingest([source], Folder(str(tmp_path)), "m", SMALL)] == [Reason.UNREADABLE]
    fs.rm("/ingest-test", recursive=True)
    assert [r.reason for r in ingest([source], Folder(str(tmp_path)), "m", SMALL)] == [Reason.UNREADABLE]


@pytest.mark.slow
@pytest.mark.skipif(not REAL.exists(), reason="the real clips of ../shared/videos are not here")
def test_real_clips_come_through(tmp_path):
    sizes = json.loads((REAL / "boxes.json").read_text())
    settings = SMALL.model_copy(update={"frames": 49, "fps": 8.0, "max_windows_per_source": 1})
    for path in sorted(REAL.glob("*.mp4"))[:2]:
        row = run(path, tmp_path, settings)
        assert row.status is Status.ACCEPTED, row.detail
        (clip,) = row.payload.clips
        assert [clip.geometry.source_width, clip.geometry.source_height] == sizes[path.name]["size"]
        assert read_frames(tmp_path / clip.path).shape == (49, 96, 144, 3)
