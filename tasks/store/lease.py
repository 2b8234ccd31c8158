"""Who works where: a lease is held by one process at a time, and a lost one stops its holder before it writes.

On disk it is a lock of the operating system, which a killed process leaves behind for the next at once and a frozen one
keeps. In a bucket it is an object that only one can create, with a heartbeat: a holder whose heart has not beaten for
SILENT_S is taken for dead, and finds out before its next write that another has come.

Names are paths: `build`, a stage's `<stage>/<fingerprint>`, a chunk's `<stage>/<fingerprint>/<chunk>`. A stage's lease
covers its chunks.
"""

import json
import os
import re
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from tasks.errors import StopRun, UserError
from tasks.store.folder import Folder

LEASES = "leases"
"""Folder below `work`."""

BUILD = "build"
"""The lease of a whole build."""

BEAT_S = 10.0
SILENT_S = 45.0
"""How often a heart beats in a bucket, and the silence after which it has stopped, by the watcher's own clock."""


class LeaseLost(StopRun):
    """Another process has taken the lease over: nothing more is written under it."""


@dataclass
class Lease:
    """A lease that this process holds, or whose holder it works for (`adopt`)."""

    folder: Folder
    """Where it lies: a folder of its own below LEASES."""
    name: str
    token: str
    epoch: int = 0
    """In a bucket: number of the object. Whoever takes a lease over creates the next."""
    _over: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """LeaseLost where it is another's by now, or nobody's."""
        if self.folder.local:
            ours = _read(self.folder, HOLDER).get("token") == self.token
        else:
            latest = max(_epochs(self.folder), default=0)
            ours = latest == self.epoch and _read(self.folder, _object(latest)).get("token") == self.token
        if not ours:
            raise LeaseLost(
                f"{self.name}: another process has taken this over, since nothing was heard of this one; what it did "
                "is on record, run the same command again"
            )


_held: dict[tuple[str, str], Lease] = {}
"""By root of the store and name, what this process holds."""

_adopted = Counter[tuple[str, str]]()
"""How many pieces of work of this process go on under a lease of another."""

_adopting = threading.Lock()

HOLDER = "holder.json"
"""On disk: who holds the lock beside it."""


@contextmanager
def lease(work: Folder, name: str) -> Iterator[Lease | None]:
    """Hold the lease while the block runs; None where another process, or another thread of this one, has it.

    OSError or InfrastructureError where nothing can be written.
    """
    folder = work.below(f"{LEASES}/{name}")
    with ExitStack() as ends:
        taken = _on_disk(folder, name, ends) if folder.local else _in_bucket(work, folder, name, ends)
        if taken:
            _held[work.root, name] = taken
            ends.callback(_let_go, (work.root, name), taken)
        yield taken


def _let_go(key: tuple[str, str], taken: Lease) -> None:
    if _held.get(key) is taken:  # another thread of this process may have taken it over
        del _held[key]


@contextmanager
def alone(out: str) -> Iterator[None]:
    """Hold the lease of a whole build. UserError where another build, or gc, has it, or nothing can be written."""
    work = Folder(out).below("work")
    with ExitStack() as held:
        try:
            mine = held.enter_context(lease(work, BUILD))
        except OSError as error:
            raise UserError(f"cannot write to {out}: {error.strerror or error}; give another --out") from None
        if mine is None:
            raise UserError(
                f"another build is at work in {out} ({holder_of(work, BUILD) or 'it has just begun'}): wait for it "
                "to end, or give another --out"
            )
        yield


@contextmanager
def adopt(work: Folder, name: str, token: str, epoch: int) -> Iterator[None]:
    """Work under a lease that another process holds and has sent this one its token."""
    key = (work.root, name)
    with _adopting:
        _adopted[key] += 1
        _held[key] = Lease(work.below(f"{LEASES}/{name}"), name, token, epoch)
    try:
        yield
    finally:
        with _adopting:
            _adopted[key] -= 1
            if not _adopted[key]:
                del _held[key]


def require_lease(work: Folder, name: str) -> None:
    """AssertionError unless this process holds the lease `name`, or one that covers it; LeaseLost where it did."""
    path = name
    while path:
        if held := _held.get((work.root, path)):
            held.check()
            return
        path = path.rpartition("/")[0]
    raise AssertionError(f"{work.root}: {name} is written only under its lease")


def others(work: Folder) -> list[str]:
    """Names of the leases that other processes hold now."""
    names = sorted({name.rpartition("/")[0] for name, _ in work.walk(LEASES)})
    busy = []
    for name in names:
        if (work.root, name) not in _held:
            with lease(work, name) as mine:
                busy += [] if mine else [name]
    return busy


def holder_of(work: Folder, name: str) -> str:
    """Who holds a lease, for people; empty where nobody does or nothing is known."""
    folder = work.below(f"{LEASES}/{name}")
    epochs = _epochs(folder) if not folder.local else []
    found = _read(folder, _object(max(epochs)) if epochs else HOLDER)
    return f"{found['host']}, process {found['process']}" if {"host", "process"} <= found.keys() else ""


class Watch:
    """A lease seen from outside, by somebody who waits for its holder and does not want the lease."""

    def __init__(self, work: Folder, name: str) -> None:
        self._folder = work.below(f"{LEASES}/{name}")
        self._seen, self._since = dict[str, str](), time.monotonic()

    def silent_s(self) -> float:
        """For how many seconds nobody has held it who lives, as far as this watch has seen; 0 where somebody does.

        On disk a look takes the lock for a moment, so that a look at the wrong one keeps a run from its chunk: look
        seldom, and at a lease that should be held.
        """
        beat = _read(self._folder, HOLDER) if self._folder.local else self._beat()
        if beat and (_locked(self._folder) if self._folder.local else beat != self._seen):
            self._seen, self._since = beat, time.monotonic()
            return 0.0
        return time.monotonic() - self._since

    def _beat(self) -> dict[str, str]:
        epochs = _epochs(self._folder)
        return _read(self._folder, _object(epochs[-1])) if epochs else {}


def _locked(folder: Folder) -> bool:
    try:
        with FileLock(Path(folder.root) / ".lock", timeout=0):
            return False
    except Timeout:
        return True


def _on_disk(folder: Folder, name: str, ends: ExitStack) -> Lease | None:
    Path(folder.root).mkdir(parents=True, exist_ok=True)
    lock = FileLock(Path(folder.root) / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return None
    ends.callback(lock.release)
    held = Lease(folder, name, uuid.uuid4().hex)
    # Not flushed to disk: after a power cut nobody holds anything.
    Path(folder.path(HOLDER)).write_bytes(_beat(held))
    ends.callback(folder.remove, HOLDER)
    return held


def _in_bucket(work: Folder, folder: Folder, name: str, ends: ExitStack) -> Lease | None:
    before = _epochs(folder)
    if before and not _silent(folder, before[-1]):
        return None
    held = Lease(folder, name, uuid.uuid4().hex, epoch=max(before, default=0) + 1)
    if work.exclusive:
        if not folder.create_exclusively(_object(held.epoch), _beat(held)):
            return None
    else:  # nothing can be made only once here: whoever was there before counts, and two at the same moment cannot tell
        folder.write(_object(held.epoch), _beat(held))
    for epoch in before:  # so that a holder that was only frozen finds itself without
        folder.remove(_object(epoch))
    heart = threading.Thread(target=_live, args=(held,), daemon=True, name=f"lease {name}")
    heart.start()

    def end() -> None:
        held._over.set()
        heart.join()
        if _read(folder, _object(held.epoch)).get("token") == held.token:
            folder.remove(_object(held.epoch))

    ends.callback(end)
    return held


def _live(held: Lease) -> None:
    """Beat until the lease is over. A beat that cannot be written is one that nobody hears: the next is tried."""
    while not held._over.wait(BEAT_S):
        try:
            held.check()
            held.folder.write(_object(held.epoch), _beat(held))
        except LeaseLost:
            return
        except Exception:
            continue


def _silent(folder: Folder, epoch: int) -> bool:
    """Whether the heart of an object has stopped: watched until it beats or SILENT_S are over."""
    first, end = _read(folder, _object(epoch)), time.monotonic() + SILENT_S
    while time.monotonic() < end:
        time.sleep(min(1.0, SILENT_S / 10))
        if epoch not in _epochs(folder):
            return False  # released, or taken by one that watched too: the next try sees
        if _read(folder, _object(epoch)) != first:
            return False
    return True


def _beat(held: Lease) -> bytes:
    """What the object holds: another content at each beat."""
    facts = {"token": held.token, "host": socket.gethostname(), "process": os.getpid(), "at": time.time()}
    return json.dumps(facts).encode()


def _object(epoch: int) -> str:
    return f"{epoch:08d}.json"


def _epochs(folder: Folder) -> list[int]:
    return sorted(int(name[:8]) for name in folder.names() if re.fullmatch(r"[0-9]{8}\.json", name))


def _read(folder: Folder, name: str) -> dict[str, str]:
    """What a holder has written; empty where nothing is, or something else than a holder's words."""
    try:
        found = json.loads(folder.read(name))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
