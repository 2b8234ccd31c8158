"""Stage `scan`: list a source and hash what is new in it (docs/stages/scan.md).

Listing is cheap and done on every build; a file is hashed once per version. Whatever a listing finds ends as a row: a
file that cannot be read is rejected, not skipped.
"""

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import Field

from schemas import Reason, Row, SourceFile
from schemas.settings import Settings
from schemas.text import visible
from tasks.errors import InfrastructureError, Reject, UserError
from tasks.outcome import settle
from tasks.scan.endings import HEAD, OTHERS, VIDEOS, starts_like_a_video
from tasks.spec import StageSpec
from tasks.store.places import (
    StorageOptions,
    file_system,
    local_path,
    local_uri,
    open_source,
    printable,
    without_credentials,
)

CHUNK = 1 << 20
_VERSION_FIELDS = (
    "ETag", "etag", "md5Hash", "content_md5", "generation", "LastModified", "Last-Modified", "last_modified", "mtime",
    "created",
)  # fmt: skip
"""Where fsspec file systems put what changes with a file's content, best first."""


class ScanSettings(Settings):
    # What is listed decides which files come in, not what a file's row says.
    not_in_rows = frozenset({"extensions", "ignored_extensions", "storage_options"})

    extensions: tuple[str, ...] = Field(
        default=VIDEOS, description="Files with these endings are videos; upper and lower case are the same"
    )
    ignored_extensions: tuple[str, ...] = Field(
        default=OTHERS,
        description="Files with these endings are left out without a trace. What is in neither list is looked at, and "
        "taken or rejected by its first bytes",
    )
    storage_options: dict[str, str | int | float | bool] = Field(
        default_factory=dict,
        description="Options of the fsspec file system, e.g. anon or endpoint_url. No credentials: those come from the "
        "environment or from fsspec's configuration files",
    )


@dataclass(frozen=True)
class Found:
    """A file as listed. `version` changes with its content: modification time in ns, or the object store's etag."""

    uri: str
    name: str
    size_bytes: int
    version: str
    known: bool = True
    """Its ending, or the user, says that it is a video."""

    @cached_property
    def key(self) -> str:
        """First 16 hex digits of sha256 over `uri|size|version`: another version of a file is another key."""
        return hashlib.sha256(f"{self.uri}|{self.size_bytes}|{self.version}".encode()).hexdigest()[:16]


def list_files(source_uri: str, settings: ScanSettings) -> list[Found]:
    """Every video below a folder or bucket, or the one video named, sorted by name. No file is opened.

    Hidden files and those with an ignored ending are skipped; where an ending says nothing, `hash_files` looks inside.
    Symbolic links are followed, each real folder once. A folder that may not be listed and a link to nowhere are listed
    too, so that they end as rejected rows. UserError where the source itself is missing or may not be read.
    """
    path = local_path(source_uri)
    if path is None and "://" not in source_uri:
        path = local_path(local_uri(source_uri))
    found = _list_local(str(path), settings) if path is not None else _list_remote(source_uri, settings)
    return sorted(found, key=lambda f: (f.name, f.uri))


def _verdict(name: str, settings: ScanSettings) -> bool | None:
    """True for a video by its ending, None for what is left out, False for what has to be looked at."""
    name = name.lower()
    if name.endswith(_lower(settings.extensions)):
        return True
    return None if name.endswith(_lower(settings.ignored_extensions)) else False


@cache
def _lower(endings: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(e.lower() for e in endings)


def _list_local(root: str, settings: ScanSettings) -> list[Found]:
    try:
        facts = Path(root).stat()
        if stat.S_ISREG(facts.st_mode):
            return [_found(root, Path(root).name, facts)]
        os.scandir(root).close()
    except FileNotFoundError as error:
        raise UserError(f"the source {visible(root)} does not exist") from error
    except PermissionError as error:
        raise UserError(f"no permission to list the source {visible(root)}") from error
    except NotADirectoryError as error:
        raise UserError(f"the source {visible(root)} is neither a folder nor a file") from error
    return list(_walk(root, facts, settings))


def _walk(root: str, facts: os.stat_result, settings: ScanSettings) -> Iterator[Found]:
    seen: set[tuple[int, int]] = set()
    folders, linked = [(root, "", facts)], list[tuple[str, str, os.stat_result]]()
    while folders or linked:
        # Real folders first, so that a file is listed under its own name rather than under that of a link.
        folder, name, facts = folders.pop() if folders else linked.pop(0)
        if (facts.st_dev, facts.st_ino) in seen:
            continue
        seen.add((facts.st_dev, facts.st_ino))
        try:
            entries = sorted(os.scandir(folder), key=lambda e: e.name)
        except FileNotFoundError:  # removed while we look
            continue
        except OSError:  # no permission, a lost mount: it ends as a row
            yield _found(folder, name, facts)
            continue
        for entry in entries:
            facts_of_entry = None if entry.name.startswith(".") else _facts(entry)
            if facts_of_entry is None:
                continue
            below = f"{name}/{entry.name}" if name else entry.name
            if stat.S_ISDIR(facts_of_entry.st_mode):
                (linked if entry.is_symlink() else folders).append((entry.path, below, facts_of_entry))
            elif (known := _verdict(entry.name, settings)) is not None:
                yield _found(entry.path, below, facts_of_entry, known)


def _facts(entry: "os.DirEntry[str]") -> os.stat_result | None:
    """Of what a link leads to; of the link where it leads nowhere; None where the entry is gone."""
    for follow in (True, False):
        try:
            return entry.stat(follow_symlinks=follow)
        except OSError:
            continue
    return None


def _found(path: str, name: str, facts: os.stat_result, known: bool = True) -> Found:
    return Found(local_uri(path), printable(name), facts.st_size, str(facts.st_mtime_ns), known)


def _list_remote(source_uri: str, settings: ScanSettings) -> list[Found]:
    fs, root = file_system(source_uri, settings.storage_options)
    base = without_credentials(source_uri)
    web = base.startswith(("http://", "https://"))  # elsewhere a "?" is part of a name
    shown = (base.partition("?")[0] if web else base).rstrip("/")
    fs.invalidate_cache()
    try:
        if _verdict(shown, settings) and fs.isfile(root):
            return [_remote(base, shown.rpartition("/")[2], fs.info(root))]
        listed = fs.find(root, detail=True)
        if not listed and not fs.exists(root):
            raise UserError(f"the source {base} does not exist")
    except FileNotFoundError as error:
        raise UserError(f"the source {base} does not exist") from error
    except PermissionError as error:
        raise UserError(f"no permission to list the source {base}: {error}") from error
    except UserError:
        raise
    except Exception as error:
        raise InfrastructureError(f"cannot list {base}: {type(error).__name__}: {error}") from error
    found = []
    stem = (root.partition("?")[0] if web else root).rstrip("/") + "/"
    for path, info in listed.items():
        name = (path.partition("?")[0] if web else path).removeprefix(stem)
        hidden = any(part.startswith(".") for part in name.split("/"))
        known = _verdict(name, settings)
        # A link without an ending on a web page is another page, a name that ends in a slash an empty folder.
        no_file = name.endswith("/") or not name or (web and "." not in name.rpartition("/")[2])
        if hidden or not path.startswith(stem) or known is None or no_file:
            continue
        if info.get("size") is None:
            info = fs.info(path)
        found.append(_remote(f"{shown}/{name}", name, info, known))
    return found


def _remote(uri: str, name: str, info: dict[str, Any], known: bool = True) -> Found:
    version = next((str(info[f]) for f in _VERSION_FIELDS if info.get(f)), "")
    return Found(printable(uri), printable(name), int(info.get("size") or 0), version.strip('"'), known)


def hash_files(found: Sequence[Found], settings: ScanSettings) -> Iterator[Row[SourceFile]]:
    """One row a file, in order: its digest, or EMPTY_FILE, UNREADABLE or UNKNOWN_ENDING.

    Of a file whose ending says nothing no more is read than its start, unless that is a video's. A failing store is an
    InfrastructureError.
    """
    for file in found:
        yield settle(file.key, lambda file=file: _hash(file, settings.storage_options))  # type: ignore[misc]


def _hash(file: Found, options: StorageOptions) -> SourceFile:
    path = local_path(file.uri)
    digest, size = hashlib.sha256(), 0
    try:
        if path is not None and not path.is_file():  # opening a pipe would wait for ever
            raise Reject(Reason.UNREADABLE, _why_not_a_file(path))
        with open_source(file.uri, options) as stream:
            while chunk := stream.read(CHUNK):
                if not (size or file.known or starts_like_a_video(chunk[:HEAD])):
                    raise _unknown(file)
                digest.update(chunk)
                size += len(chunk)
    except FileNotFoundError as error:
        raise Reject(Reason.UNREADABLE, f"{file.name} is gone since it was listed") from error
    except PermissionError as error:
        raise Reject(Reason.UNREADABLE, f"no permission to read {file.name}") from error
    except (Reject, UserError, OSError, MemoryError):
        raise
    except Exception as error:
        raise InfrastructureError(f"cannot read {file.uri}: {type(error).__name__}: {error}") from error
    if size == 0 and not file.known:
        raise _unknown(file)
    if size == 0:
        raise Reject(Reason.EMPTY_FILE, f"{file.name} has no content")
    return SourceFile(
        uri=file.uri, name=file.name, size_bytes=size, version=file.version, digest=digest.hexdigest()
    )  # fmt: skip


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
    own_keys=True,
    rejects={
        Reason.EMPTY_FILE: "the file holds no bytes",
        Reason.UNREADABLE: "no permission, or it vanished while it was read",
        Reason.UNKNOWN_ENDING: "its ending is not a video's, and neither are its first bytes",
    },
)
