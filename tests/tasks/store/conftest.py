import pytest

from tasks.store import lease as leases
from tasks.store.folder import Folder
from tests.tasks.store.leasing import memory_of
from tests.tasks.store.made import held


@pytest.fixture
def work(tmp_path):
    """Of a chunk at work: its lease is held."""
    folder = Folder(str(tmp_path)).below("work")
    with held(folder):
        yield folder


@pytest.fixture
def memory(request):
    return memory_of(request)


@pytest.fixture
def quick_hearts(monkeypatch):
    """Hearts beat fast enough to be waited for, and often enough on a busy machine."""
    monkeypatch.setattr(leases, "BEAT_S", 0.05)
    monkeypatch.setattr(leases, "SILENT_S", 2.0)
