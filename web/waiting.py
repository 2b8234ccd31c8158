"""A build that waits for people (`review.wait`) goes on by itself: the review server looks whether enough is decided.

How a build goes on is not known here (`go_on`): flows/cli/people.py asks Prefect, or says what to run.
"""

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tasks.errors import InfrastructureError, UserError
from tasks.review.rules import Progress
from web.queue import Queue
from web.store import Build

EVERY_S = 10.0
"""Seconds between two looks: one opens every chunk that has clips that wait."""

GoOn = Callable[[Build], str]
"""Has the build go on, or says how it does; a line for people. Asked at every look until the clips are through."""


class Watch:
    """What the queue's page says of a build that waits. `told` is empty where none does."""

    def __init__(self, queue: Queue, go_on: GoOn) -> None:
        self.queue, self.go_on = queue, go_on
        self.told = ""

    def look(self) -> None:
        """Look once."""
        try:
            self.told = self._look()
        except (UserError, InfrastructureError, OSError) as error:
            self.told = str(error)

    def _look(self) -> str:
        ours = self.queue.build
        build = Build(ours.out.uri)  # as it is now: another may have been begun since
        if build.fingerprints["review"] != ours.fingerprints["review"]:
            return "the folder was built with other settings since: start this page again to see its clips"
        if not build.review.wait:
            return ""
        chunks: list[Progress] = []
        ready = False
        reviewed, begun = build.view("review").chunks, self.queue.journal.versions()
        for name, chunk in build.view("curate").chunks.items():
            arrived = chunk.accepted()
            waiting = set(arrived).difference(reviewed[name].keys() if name in reviewed else ())
            if waiting:
                chunks.append(self.queue.progress(arrived, build.review.wait, begun))
                ready = ready or any(map(chunks[-1].lets_through, waiting))
        if not chunks:
            return ""
        if not all(people.reached for people in chunks):
            decided = sum(len(people.decided) for people in chunks)
            wanted = sum(math.ceil(people.wanted * people.arrived) for people in chunks)
            return f"a build waits for people: {decided} clips are decided on, and it wants {wanted}"
        if ready:
            return f"enough is decided: {self.go_on(build)}"
        return "a build waits for the clips that somebody has begun with"

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look again and again, in a thread, while the block runs."""
        ended = threading.Event()

        def run() -> None:
            self.look()
            while not ended.wait(EVERY_S):
                self.look()

        thread = threading.Thread(target=run, name="waiting", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(timeout=10)  # Prefect's client may be waiting for its server
