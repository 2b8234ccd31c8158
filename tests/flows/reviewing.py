"""People who decide on every clip of a build, without a page."""

from collections.abc import Collection

from tasks.review.journal import Journal
from tasks.review.patches import Decide, Finish
from web.queue import Queue
from web.store import Build


def decide_all(out: str, drop: Collection[int] = ()) -> list[str]:
    """The clips, sorted. Of those at the places in `drop` everything goes, of the others nothing."""
    build = Build(out)
    journal = Journal(build.work)
    queue = Queue(build, journal)
    for place, clip in enumerate(sorted(queue.items)):
        shown = queue.clip(clip)
        journal.claim(clip, "ann", 60)
        for seen, name in enumerate(shown.masks):
            gone = Decide(id=name, decision="drop", reason="drift")
            said = gone if place in drop else Decide(id=name, decision="accept")
            journal.append(clip, "ann", seen, said, shown.digests, "", 60)
        journal.append(clip, "ann", len(shown.masks), Finish(), shown.digests, "", 60)
    journal.close()
    return sorted(queue.items)
