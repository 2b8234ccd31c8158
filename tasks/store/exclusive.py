"""Writes that go through only where nobody else was faster: put a file where none is, or where a known one still is.

| file system | how |
|---|---|
| local | a whole temporary file gets its name by `link`, which refuses a name that is taken; a known file is locked |
| memory | a lock: it is of one process |
| S3 | `If-None-Match: *` and `If-Match` on PUT |
| Google | `ifGenerationMatch`, 0 for none |
| Azure | the same two headers as S3 |
| the web, all others | none: NotImplementedError |

Older servers and stand-ins that speak a store's language pass over the condition, so stores are tried out (`possible`).
"""

import fcntl
import os
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tasks.store.remote import Remote
from tasks.store.trying import tried

_memory = threading.Lock()


def possible(remote: Remote, root: str) -> bool:
    """Whether the file system has such writes. A store is asked to do what it has to refuse."""
    if remote.kind in ("file", "memory") or remote.kind not in _PUTS:
        return remote.kind in ("file", "memory")
    path = f"{root}/.tmp-tried-{uuid.uuid4().hex[:12]}"
    try:
        first = write_remote(remote, path, b"1", None)
        stale = _mark(remote, path)
        refuses = first and not write_remote(remote, path, b"2", None)
        remote.ask("pipe_file", path, b"3")
        return refuses and not _put(remote, path, b"4", stale)
    finally:
        remote.ask("rm_file", path)


def write_remote(remote: Remote, path: str, data: bytes, expected: bytes | None) -> bool:
    """`Folder.write_if` where the folder is not local."""
    if remote.kind not in _PUTS:
        raise NotImplementedError(f"{remote.shown(path)}: this file system has no writes with a condition")
    if expected is None:
        return _put(remote, path, data, None)
    try:
        mark = _mark(remote, path)  # before the content: what is put between the two makes the write fail
        return remote.read(path) == expected and _put(remote, path, data, mark)
    except FileNotFoundError:
        return False


def _put(remote: Remote, path: str, data: bytes, mark: Any) -> bool:
    """Put a file where the one of that mark is, or none for None. FileNotFoundError where a marked one is gone."""
    try:
        tried(remote.shown(path), lambda: _PUTS[remote.kind](remote.fs, path, data, mark), remote.renew)
    except FileExistsError:
        try:  # of a write that had to be tried again, the first try may have got through
            return remote.read(path) == data
        except FileNotFoundError:  # whose file it was has taken it away meanwhile, as a lease that is given back
            return False
    return True


def _mark(remote: Remote, path: str) -> Any:
    """What the store compares by; it changes with each write."""
    info = remote.info(path)
    if remote.kind == "memory":
        return remote.read(path)
    return info[{"s3": "ETag", "gs": "generation", "az": "etag"}[remote.kind]]


def _put_s3(fs: Any, path: str, data: bytes, mark: Any) -> None:
    bucket, key, _ = fs.split_path(path)
    condition = {"IfNoneMatch": "*"} if mark is None else {"IfMatch": mark}
    fs.call_s3("put_object", Bucket=bucket, Key=key, Body=data, **condition)


def _put_gs(fs: Any, path: str, data: bytes, mark: Any) -> None:
    bucket, key, _ = fs.split_path(path)
    fs.call(
        "POST", f"{fs._location}/upload/storage/v1/b/{quote(bucket)}/o", uploadType="media", name=key, data=data,
        ifGenerationMatch=str(mark or 0), headers={"Content-Type": "application/octet-stream"},
    )  # fmt: skip


def _put_az(fs: Any, path: str, data: bytes, mark: Any) -> None:
    if mark is None:
        fs.pipe_file(path, data, overwrite=False)
        return
    from azure.core import MatchConditions

    fs.pipe_file(path, data, overwrite=True, etag=mark, match_condition=MatchConditions.IfNotModified)


def _put_memory(fs: Any, path: str, data: bytes, mark: Any) -> None:
    with _memory:
        held = fs.cat_file(path) if fs.exists(path) else None
        if held != mark:
            raise FileExistsError(path)
        fs.pipe_file(path, data)


_PUTS: dict[str, Callable[[Any, str, bytes, Any], None]] = {
    "s3": _put_s3, "gs": _put_gs, "az": _put_az, "memory": _put_memory
}  # fmt: skip


def write_local(path: Path, data: bytes, expected: bytes | None, temporary: str) -> bool:
    """`Folder.write_if` in a local folder that is there. temporary: a name beside the file."""
    beside = path.with_name(temporary)
    try:
        with beside.open("xb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        if expected is None:
            os.link(beside, path)
        elif not _replace(beside, path, expected):
            return False
    except FileExistsError:
        return False
    finally:
        beside.unlink(missing_ok=True)
    return True


def _replace(beside: Path, path: Path, expected: bytes) -> bool:
    """Give `beside` the name of a file that holds `expected`, alone among those who would."""
    try:
        with path.open("rb+") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            # Whoever had the lock before has put another file in its place.
            if os.fstat(held.fileno()).st_ino != path.stat().st_ino or held.read() != expected:
                return False
            beside.replace(path)
            return True
    except FileNotFoundError:
        return False
