"""What is at a source: every file that may be a video, in the order of names, never all of them at once.

Nothing is opened for it. Buckets are listed page by page (tasks/store/listing.py), local folders depth first.
"""

import hashlib
import itertools
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from schemas.settings import Settings
from schemas.text import visible
from tasks.errors import UserError
from tasks.scan.endings import OTHERS, VIDEOS
from tasks.store.listing import sorted_names, walk_remote
from tasks.store.places import file_system, local_path, local_uri, printable, without_credentials
from tasks.store.remote import Remote, version_of
from tasks.store.spool import Spool


class ScanSettings(Settings):
    # What is listed decides which files come in, not what a file's row says.
    not_in_rows = frozenset({
        "extensions", "ignored_extensions", "storage_options", "credentials_block", "spool_mb", "spool_folder"
    })  # fmt: skip

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
        "environment, from fsspec's configuration files or from scan.credentials_block",
    )
    credentials_block: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9-]+/[a-z0-9-]+$",
        description="Prefect block that holds credentials for the source and the captions, as TYPE/NAME, e.g. "
        "secret/raw-videos; only its name goes on record",
    )
    spool_mb: int = Field(
        default=4096,
        ge=0,
        description="Room on this machine for files of a bucket between hashing and decoding, in MiB; what finds none "
        "is fetched twice",
    )
    spool_folder: str | None = Field(
        default=None,
        min_length=1,
        description="Where that room is; by default below the system's folder for temporary files",
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


def spool_of(settings: ScanSettings) -> Spool:
    """Where files of buckets wait between hashing and decoding."""
    return Spool(settings.spool_folder, settings.spool_mb << 20)


def list_files(source_uri: str, settings: ScanSettings) -> Iterator[Found]:
    """Every video below a folder or bucket, or the one video named, in the order of names. No file is opened.

    Hidden files and those with an ignored ending are skipped; where an ending says nothing, `hash_files` looks inside.
    Symbolic links are followed, each real folder once. A folder that may not be listed and a link to nowhere are listed
    too, so that they end as rejected rows. UserError, at once, where the source itself is missing or may not be read;
    InfrastructureError, also on the way, where it fails.
    """
    path = local_path(source_uri if "://" in source_uri else local_uri(source_uri))
    return _list_local(str(path), settings) if path is not None else _list_remote(source_uri, settings)


def _verdict(name: str, settings: ScanSettings) -> bool | None:
    """True for a video by its ending, None for what is left out, False for what has to be looked at."""
    name = name.lower()
    if name.endswith(_lower(settings.extensions)):
        return True
    return None if name.endswith(_lower(settings.ignored_extensions)) else False


@cache
def _lower(endings: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(e.lower() for e in endings)


def _list_local(root: str, settings: ScanSettings) -> Iterator[Found]:
    try:
        facts = Path(root).stat()
        if stat.S_ISREG(facts.st_mode):
            return iter([_found(root, Path(root).name, facts)])
        os.scandir(root).close()
    except FileNotFoundError as error:
        raise UserError(f"the source {visible(root)} does not exist") from error
    except PermissionError as error:
        raise UserError(f"no permission to list the source {visible(root)}") from error
    except NotADirectoryError as error:
        raise UserError(f"the source {visible(root)} is neither a folder nor a file") from error
    return _Walk(root, settings).below(root, "", facts)


class _Walk:
    """One way through a local folder and what its links lead to."""

    def __init__(self, root: str, settings: ScanSettings) -> None:
        self.root, self.settings = root, settings
        self.seen = set[tuple[int, int]]()

    def below(self, folder: str, name: str, facts: os.stat_result) -> Iterator[Found]:
        """The files below a folder that is called `name` at the source."""
        if _identity(facts) in self.seen:
            return
        self.seen.add(_identity(facts))
        try:
            names = sorted_names(folder)
        except FileNotFoundError:  # removed while we look
            return
        except OSError:  # no permission, a lost mount: it ends as a row
            yield _found(folder, name.rstrip("/"), facts)
            return
        for entry in names:
            path = os.path.join(folder, entry.rstrip("/"))  # noqa: PTH118 - a Path for each of a million
            if entry.startswith(".") or (of_entry := _facts(path)) is None:
                continue
            if stat.S_ISDIR(of_entry.st_mode):
                # A file is listed under its own name rather than under that of a link.
                if not (os.path.islink(path) and _identity(of_entry) in self.real):  # noqa: PTH114
                    yield from self.below(path, name + entry, of_entry)
            elif (known := _verdict(entry, self.settings)) is not None:
                yield _found(path, name + entry, of_entry, known)

    @cached_property
    def real(self) -> set[tuple[int, int]]:
        """Folders that are reached without a link, hidden ones aside; looked for at the first link to a folder."""
        found, folders = set(), [self.root]
        while folders:
            folder = folders.pop()
            try:
                found.add(_identity(Path(folder).stat()))
                with os.scandir(folder) as entries:
                    folders += [
                        e.path for e in entries if not e.name.startswith(".") and e.is_dir(follow_symlinks=False)
                    ]
            except OSError:
                continue
        return found


def _identity(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_dev, facts.st_ino


def _facts(path: str) -> os.stat_result | None:
    """Of what a link leads to; of the link where it leads nowhere; None where there is nothing any more."""
    for follow in (True, False):
        try:
            return os.stat(path, follow_symlinks=follow)  # noqa: PTH116
        except OSError:
            continue
    return None


def _found(path: str, name: str, facts: os.stat_result, known: bool = True) -> Found:
    return Found(local_uri(path), printable(name), facts.st_size, str(facts.st_mtime_ns), known)


def _list_remote(source_uri: str, settings: ScanSettings) -> Iterator[Found]:
    fs, root = file_system(source_uri, settings.storage_options)
    remote = Remote(fs)
    base = without_credentials(source_uri)
    web = remote.kind == "http"  # elsewhere a "?" is part of a name
    shown = (base.partition("?")[0] if web else base).rstrip("/")
    try:
        if _verdict(shown, settings) and remote.ask("isfile", root):
            return iter([_remote(base, shown.rpartition("/")[2], remote.info(root))])
        listed = walk_remote(remote, root)
        first = next(listed, None)
        if first is None and not remote.ask("exists", root):
            raise UserError(f"the source {base} does not exist")
        if first is None and not web and remote.ask("isfile", root):
            return iter([_remote(base, shown.rpartition("/")[2], remote.info(root))])
    except FileNotFoundError as error:
        raise UserError(f"the source {base} does not exist") from error
    except PermissionError as error:
        raise UserError(f"no permission to list the source {base}") from error
    return _videos(itertools.chain([first] if first else [], listed), remote, root, shown, settings)


def _videos(
    listed: Iterator[tuple[str, dict[str, Any]]], remote: Remote, root: str, shown: str, settings: ScanSettings
) -> Iterator[Found]:
    for name, info in listed:
        known = _verdict(name, settings)
        # A link without an ending on a web page is another page.
        page = remote.kind == "http" and "." not in name.rpartition("/")[2]
        if known is None or page or any(part.startswith(".") for part in name.split("/")):
            continue
        if info.get("size") is None:
            info = remote.info(str(info.get("address", f"{root}/{name}")))
        yield _remote(f"{shown}/{name}", name, info, known)


def _remote(uri: str, name: str, info: dict[str, Any], known: bool = True) -> Found:
    return Found(printable(uri), printable(name), int(info.get("size") or 0), version_of(info), known)
