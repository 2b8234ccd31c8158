"""How pytest-xdist shares the tests out: by file, but what shares a server or a built folder goes to one worker.

So do all tests of `tests/production`; of `tests/flows` those that take `built` are one unit, and those that take
another fixture of its conftest a second, with a server of its own: together they are longer than all the rest. A file
that is sorted wrongly costs the time of one more server, nothing else. xdist's own groups (`--dist loadgroup`, 3.8)
write to a field that pytest 9.2 does not read, so they group nothing.
"""

import os
import re
from functools import cache
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

# Before anything imports torch: the models are tiny, and workers with more threads than cores wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

UNITS = {
    "builds": re.compile(r"^def \w+\([^)]*\bbuilt\b", re.M),
    "flows": re.compile(r"^def \w+\([^)]*\b(server|world|matrix_data\w*)\b", re.M),
}


class ByFile(LoadScopeScheduling):
    """Files in the order they were collected, so that the longest units, the flows, begin at once."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid.partition("::")[0], self.config.rootpath)


@cache
def unit_of(file: str, root: Path) -> str:
    """Which tests of one worker a file belongs to."""
    if file.startswith("tests/flows/"):
        text = (root / file).read_text()
        return next((unit for unit, takes in UNITS.items() if takes.search(text)), file)
    return "production" if file.startswith("tests/production/") else file


def pytest_xdist_make_scheduler(config, log):
    config.option.loadscopereorder = False
    return ByFile(config, log)
