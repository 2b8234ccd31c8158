"""People who decide on every clip of a build without a page, and the page as the command line serves it."""

import json
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tasks.review.journal import Journal
from tasks.review.patches import Decide, Finish
from web.queue import Queue
from web.store import Build


def decide_all(out: str, drop: Collection[int] = (), who: str = "ann") -> list[str]:
    """The clips, sorted. Of those at the places in `drop` everything goes, of the others nothing."""
    build = Build(out)
    journal = Journal(build.work)
    queue = Queue(build, journal)
    for place, clip in enumerate(sorted(queue.items)):
        shown = queue.clip(clip)
        journal.claim(clip, who, 60)
        for seen, name in enumerate(shown.masks):
            gone = Decide(id=name, decision="drop", reason="drift")
            said = gone if place in drop else Decide(id=name, decision="accept")
            journal.append(clip, who, seen, said, shown.digests, "", 60)
        journal.append(clip, who, len(shown.masks), Finish(), shown.digests, "", 60)
    journal.close()
    return sorted(queue.items)


@contextmanager
def review_page(out: str, env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """`matrix_data review`, up; yields its address and the token of its admin, whom it makes at its first start."""
    command = [sys.executable, "-m", "flows.cli", "review", out, "--port", "0", "--json"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, env=dict(env), cwd=root, stdout=subprocess.PIPE, text=True) as page:
        try:
            assert page.stdout
            account, place = (json.loads(page.stdout.readline()) for _ in range(2))
            yield place["url"], account["token"]
        finally:
            page.send_signal(signal.SIGINT)
