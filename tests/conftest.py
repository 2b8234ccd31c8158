"""How pytest-xdist shares the tests out: by file, but all of `tests/flows` to one worker, as of `tests/production`.

Those share servers and a built folder. xdist's own groups (`--dist loadgroup`, 3.8) write to a field that pytest 9.2
does not read, so they group nothing.
"""

from xdist.scheduler import LoadScopeScheduling


class ByFile(LoadScopeScheduling):
    """Files in the order they were collected, so that the longest unit, the flows, begins at once."""

    def _split_scope(self, nodeid: str) -> str:
        shared = ("tests/flows/", "tests/production/")
        return next((folder for folder in shared if nodeid.startswith(folder)), nodeid.partition("::")[0])


def pytest_xdist_make_scheduler(config, log):
    config.option.loadscopereorder = False
    return ByFile(config, log)
