"""Stage `scan`: list a source and hash what is new in it (docs/stages/scan.md).

Listing is cheap and done on every build; a file is hashed once per version. Whatever a listing finds ends as a row: a
file that cannot be read is rejected, not skipped.
"""

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from schemas import Reason, Row, SourceFile
from tasks.errors import Reject
from tasks.outcome import settle
from tasks.scan.endings import HEAD, starts_like_a_video
from tasks.scan.listing import Found, ScanSettings, list_files, spool_of
from tasks.spec import StageSpec
from tasks.store.places import file_system, local_path
from tasks.store.remote import Remote
from tasks.store.spool import fetch
from tasks.store.trying import ChangedError

__all__ = ["SPEC", "Found", "ScanSettings", "hash_files", "list_files"]

CHUNK = 1 << 20


def hash_files(found: Sequence[Found], settings: ScanSettings) -> Iterator[Row[SourceFile]]:
    """One row a file, in order: its digest, or EMPTY_FILE, UNREADABLE or UNKNOWN_ENDING.

    Of a file whose ending says nothing no more is read than its start, unless that is a video's. A file that is not, or
    no more, the one that was listed is UNREADABLE; the next listing has it under another key. What comes from a bucket
    is kept for ingest where there is room. A failing store is an InfrastructureError.
    """
    for file in found:
        yield settle(file.key, lambda file=file: _source_file(file, settings))  # type: ignore[misc]


def _source_file(file: Found, settings: ScanSettings) -> SourceFile:
    path = local_path(file.uri)
    try:
        digest, size = _hash_remote(file, settings) if path is None else _hash_local(file, path)
    except ChangedError as error:
        raise Reject(Reason.UNREADABLE, f"{file.name} has changed since it was listed; build again") from error
    except FileNotFoundError as error:
        raise Reject(Reason.UNREADABLE, f"{file.name} is gone since it was listed") from error
    except PermissionError as error:
        raise Reject(Reason.UNREADABLE, f"no permission to read {file.name}") from error
    if size == 0 and not file.known:
        raise _unknown(file)
    if size == 0:
        raise Reject(Reason.EMPTY_FILE, f"{file.name} has no content")
    return SourceFile(uri=file.uri, name=file.name, size_bytes=size, version=file.version, digest=digest)


def _hash_local(file: Found, path: Path) -> tuple[str, int]:
    if not path.is_file():  # opening a pipe would wait for ever
        raise Reject(Reason.UNREADABLE, _why_not_a_file(path))
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            if not size:
                _look(file, chunk)
            digest.update(chunk)
            size += len(chunk)
        if str(os.fstat(stream.fileno()).st_mtime_ns) != file.version:
            raise ChangedError(file.name)
    return digest.hexdigest(), size


def _hash_remote(file: Found, settings: ScanSettings) -> tuple[str, int]:
    fs, path = file_system(file.uri, settings.storage_options)
    remote, spool = Remote(fs), spool_of(settings)
    sized = file.size_bytes or None  # a web server may not tell
    with spool.place(file.size_bytes) as place:
        found = fetch(remote, path, place if sized else None, sized, file.version, lambda head: _look(file, head))
        digest, size, whole = found
        if whole and place is not None:
            spool.keep(place, digest)
    return digest, size


def _look(file: Found, head: bytes) -> None:
    if not (file.known or starts_like_a_video(head[:HEAD])):
        raise _unknown(file)


def _unknown(file: Found) -> Reject:
    ending = PurePosixPath(file.name).suffix
    what = f"the ending {ending} is not in scan.extensions" if ending else "it has no ending"
    return Reject(Reason.UNKNOWN_ENDING, f"{file.name}: {what}, and its content does not begin like a video")


def _why_not_a_file(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return f"{path} is gone, or a link to nowhere"
    except OSError as error:
        return f"{path}: {error.strerror}"
    return f"no permission to list the folder {path}" if stat.S_ISDIR(mode) else f"{path} is not a regular file"


SPEC = StageSpec(
    name="scan",
    settings=ScanSettings,
    record=SourceFile,
    batch=lambda work, keys: hash_files([work.listing[key] for key in keys], work.settings),
    unit="files",
    rejects={
        Reason.EMPTY_FILE: "the file holds no bytes",
        Reason.UNREADABLE: "no permission, or it changed or vanished since it was listed",
        Reason.UNKNOWN_ENDING: "its ending is not a video's, and neither are its first bytes",
    },
)
