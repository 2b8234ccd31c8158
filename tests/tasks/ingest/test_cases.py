"""The odd files that were collected from other tools' bug reports, where they are at hand."""

from pathlib import Path

import pytest

from schemas import Reason
from tasks.ingest import sandbox
from tasks.ingest.stage import IngestSettings
from tasks.media.clips import EncodeSettings
from tests.tasks.ingest.running import run

CASES = Path(__file__).parents[4] / "shared" / "cases"
SETTINGS = IngestSettings(encode=EncodeSettings(preset="ultrafast"))

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CASES.exists(), reason="../shared/cases is not here")]

TAKEN = {
    "clock/3s_then_10s.ts": {"clock_jumps": 1, "frames": 390},
    "clock/from_100s.mkv": {"duration_s": 8.0},
    "clock/ts_joined_mid_gop.ts": {"frames": 240},
    "clock/avi_h264_bframes.avi": {"frames": 240},
    "streams/preview_first.mp4": {"stream": 1, "width": 640},
    "pixels/hdr10_pq.mp4": {"transfer": "smpte2084", "primaries": "bt2020", "bit_depth": 10},
    "pixels/interlaced.mpg": {"field_order": "bff", "frames": 250},
}


@pytest.fixture(scope="module", autouse=True)
def _end_helpers():
    yield
    sandbox.close()


@pytest.mark.parametrize("name", TAKEN)
def test_an_odd_source_is_taken_for_what_it_is(tmp_path, name):
    row = run(CASES / name, tmp_path, SETTINGS)
    assert row.payload is not None, row.detail
    assert {field: getattr(row.payload.facts, field) for field in TAKEN[name]} == TAKEN[name]


def test_a_frozen_source_is_rejected(tmp_path):
    assert run(CASES / "still/frozen.mp4", tmp_path, SETTINGS).reason is Reason.NO_MOTION
