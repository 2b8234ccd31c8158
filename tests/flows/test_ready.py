"""Engines are loaded before a clip is touched, and only where there is something to do."""

from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

from flows.build import build
from flows.context import context_of
from flows.settings import load_settings
from tasks.engines import registry
from tasks.engines.embedded.detector import EmbeddedDetector
from tasks.engines.registry import EngineEntry
from tasks.errors import UserError


class Broken(EmbeddedDetector):
    """A detector whose weights turn out to be damaged when they are loaded."""

    def check(self) -> str:
        raise UserError("detector: the weights are damaged, download them again")


BROKEN = EngineEntry("tasks.engines.embedded.options:DetectorOptions", f"{__name__}:Broken")


@pytest.fixture
def settings(server, tmp_path, monkeypatch):
    monkeypatch.setitem(registry.ENGINES["detector"], "broken", BROKEN)
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a.mp4").write_bytes(b"no video, but a file to hash")
    with temporary_settings({PREFECT_API_URL: server["PREFECT_API_URL"], PREFECT_LOGGING_TO_API_ENABLED: False}):
        yield load_settings("local", ["engines.detector.name=broken"], source=str(raw), out=str(tmp_path / "out"))


def test_an_engine_that_cannot_load_ends_the_build_before_the_first_file(settings):
    with pytest.raises(UserError, match="damaged, download them again"):
        build(settings)
    assert len(context_of(settings.out).store("scan")) == 0


def test_a_build_with_nothing_to_do_loads_nothing(settings):
    Path(settings.source, "a.mp4").unlink()
    assert build(settings).dataset is None
