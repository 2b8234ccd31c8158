import pytest

from tasks.store.folder import Folder
from tasks.store.lock import build_lock


@pytest.fixture
def work(tmp_path):
    """Of a build at work: its lock is held."""
    with build_lock(str(tmp_path)):
        yield Folder(str(tmp_path)).below("work")
