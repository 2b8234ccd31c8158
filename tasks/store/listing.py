"""Everything below a folder in the order of its names, never held at once: a bucket may have millions of objects.

The order is that of whole names with forward slashes, by code point, which is how object stores list. In a local folder
the name of a folder counts with its slash, so that both give the same order. Where a file system can only be asked
folder by folder, no more is held than the names in the folders on the way.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

from fsspec.asyn import sync

from tasks.store.remote import Remote
from tasks.store.trying import tried

PAGE = 1000
"""Objects asked for at once; S3 gives no more."""

Info = dict[str, Any]
"""What a file system says of a file: its `size`, what `version_of` looks for, and on the web its `address`."""


def sorted_names(folder: str) -> list[str]:
    """Names in a local folder in the order of a walk; those of folders, also behind links, end in a slash."""
    with os.scandir(folder) as entries:
        return sorted(f"{entry.name}/" if _leads_to_a_folder(entry) else entry.name for entry in entries)


def _leads_to_a_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def walk_local(folder: str, above: str = "") -> Iterator[tuple[str, int]]:
    """(name below the folder, size in bytes) of every file. What vanishes meanwhile is left out."""
    try:
        names = sorted_names(folder)
    except FileNotFoundError:
        return
    for name in names:
        if name.endswith("/"):
            yield from walk_local(f"{folder}/{name[:-1]}", above + name)
            continue
        try:
            size = os.stat(f"{folder}/{name}").st_size  # noqa: PTH116 - a Path for each of a million
        except FileNotFoundError:
            continue
        yield above + name, size


def walk_remote(remote: Remote, path: str) -> Iterator[tuple[str, Info]]:
    """(name below the path, what the listing says of it) of every file; nothing where there is no such folder.

    Marks of empty folders, whose names end in a slash, are left out.
    """
    if remote.kind == "http":
        yield from _web(remote, path)
        return
    pages = _PAGES.get(remote.kind)
    if pages is None:
        yield from _by_folder(remote, path, "")
        return
    bucket, key, *_ = remote.fs.split_path(path)
    prefix = f"{key.rstrip('/')}/" if key else ""
    token = None
    try:
        while True:
            listed, token = tried(
                remote.shown(path),
                lambda token=token: pages(remote.fs, bucket, prefix, token),  # type: ignore[misc]
                remote.renew,
            )
            yield from ((name[len(prefix) :], info) for name, info in listed if not name.endswith("/"))
            if not token:
                return
    except FileNotFoundError:
        return


Page = tuple[list[tuple[str, Info]], Any]
"""Objects by their whole keys, and the token of the page that follows."""


def _s3_page(fs: Any, bucket: str, prefix: str, token: str | None) -> Page:
    more = {"ContinuationToken": token} if token else {}
    found = fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=PAGE, **more)
    listed = [(o["Key"], {"size": o["Size"], "ETag": o["ETag"]}) for o in found.get("Contents", ())]
    return listed, found.get("NextContinuationToken")


def _gs_page(fs: Any, bucket: str, prefix: str, token: str | None) -> Page:
    more = {"pageToken": token} if token else {}
    found = fs.call("GET", "b/{}/o", bucket, prefix=prefix, maxResults=PAGE, json_out=True, **more)
    return [(o["name"], {**o, "size": int(o["size"])}) for o in found.get("items", ())], found.get("nextPageToken")


def _az_page(fs: Any, bucket: str, prefix: str, token: str | None) -> Page:
    async def page() -> Page:
        async with fs.service_client.get_container_client(container=bucket) as container:
            blobs = container.list_blobs(name_starts_with=prefix, results_per_page=PAGE, include=["metadata"])
            pages = blobs.by_page(token)
            listed = [(b.name, {"size": b.size, "etag": b.etag}) async for b in await anext(pages) if not _is_folder(b)]
            return listed, pages.continuation_token

    found: Page = sync(fs.loop, page)
    return found


def _is_folder(blob: Any) -> bool:
    """A hierarchical account lists its folders as empty blobs."""
    return "true" in ((blob.metadata or {}).get(mark) for mark in ("hdi_isfolder", "is_directory"))


_PAGES: dict[str, Callable[[Any, str, str, str | None], Page]] = {"s3": _s3_page, "gs": _gs_page, "az": _az_page}


def _by_folder(remote: Remote, path: str, above: str) -> Iterator[tuple[str, Info]]:
    """Depth first."""
    try:
        listed: list[Info] = remote.ask("ls", path, detail=True)
    except FileNotFoundError:
        return
    found = []
    for info in listed:
        whole = str(info["name"]).rstrip("/")
        if whole != path.rstrip("/"):  # as a file is listed by its own name
            name = whole.rsplit("/", 1)[-1]
            found.append((f"{name}/" if info["type"] == "directory" else name, info))
    for name, info in sorted(found, key=lambda item: item[0]):
        if info["type"] == "directory":
            yield from _by_folder(remote, str(info["name"]), above + name)
        else:
            yield above + name, info


def _web(remote: Remote, path: str) -> Iterator[tuple[str, Info]]:
    """What pages link to, below the first one. They have no order and no end that could be told beforehand."""
    stem = path.partition("?")[0].rstrip("/") + "/"
    for address, info in sorted(remote.ask("find", path, detail=True).items()):
        name = address.partition("?")[0].removeprefix(stem)
        if address.startswith(stem) and name and not name.endswith("/"):
            yield name, {**info, "address": address}
