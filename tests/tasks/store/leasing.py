"""For the tests of leases: a try to take one, a folder in a bucket, and accounts that are spoilt."""

import pytest

from tasks.store.folder import Folder
from tasks.store.lease import lease
from tests.tasks.store.made import CHUNK

SPOILT = (b'{"tok', b"", b"[]", b"null", b'"held"', b'{"token": 1}', b"\xff\x00", b"[" * 100_000)


def taken(work: Folder, name: str = CHUNK) -> bool:
    """Whether a try to take the lease, which is given back at once, ends well."""
    with lease(work, name) as mine:
        return mine is not None


def memory_of(request: pytest.FixtureRequest) -> Folder:
    """Of one test alone, in a bucket that is in memory."""
    name = request.node.name.replace("[", "-").replace("]", "")
    return Folder(f"memory://{name}/work")
