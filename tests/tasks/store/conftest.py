import pytest

from tasks.store.folder import Folder
from tests.tasks.store.made import held


@pytest.fixture
def work(tmp_path):
    """Of a chunk at work: its lease is held."""
    folder = Folder(str(tmp_path)).below("work")
    with held(folder):
        yield folder
