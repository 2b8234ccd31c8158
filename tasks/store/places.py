"""Names of source files: what goes on record, and how to get from the record back to the file.

A local file is recorded by its absolute path. A path that is no UTF-8 is recorded as a percent-encoded `file://` URI,
since records are text. Anything else is an fsspec URI. Credentials never reach a record: they come from the environment
or from fsspec's own configuration.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlencode

import fsspec

from schemas.credentials import is_secret, secret_in
from schemas.text import one_line
from tasks.errors import UserError
from tasks.store.remote import LISTING, UNCACHED, Remote, kind_of

StorageOptions = Mapping[str, str | int | float | bool]
"""Keyword arguments of an fsspec file system, such as `anon: true` or `endpoint_url`. Never credentials."""

_granted: dict[tuple[str, str], Mapping[str, Any]] = {}
"""Options with credentials in them, by kind and bucket. Of this process, and nowhere else."""

_BESIDE_A_SIGNATURE = re.compile(
    r"x-(amz|goog|oss)-.*|se|sp|sv|sr|st|spr|skoid|sktid|skt|ske|sks|skv|expires|key-pair-id|awsaccesskeyid|auth.*",
    re.IGNORECASE,
)
"""Query parameters of presigned and shared-access URLs (AWS, Google, Azure, CloudFront): others the next time."""

OFF_THE_RECORD = (
    "it would go on record. Give credentials in the environment or in fsspec's configuration files (~/.config/fsspec), "
    "and options that are no secrets as scan.storage_options"
)
"""What to do with a secret that was given in settings."""


def refuse_credentials(address: str) -> str:
    """`address`, where it is safe to put on record. UserError where it carries a password, a key or a signature."""
    if what := secret_in(address):
        raise UserError(f"the address carries {what}, and {OFF_THE_RECORD}")
    return address


def printable(name: str) -> str:
    """`name` as text that any record can hold: bytes that are no UTF-8 become `\\xNN`, half a character `\\uNNNN`."""
    return _SURROGATE.sub(lambda found: _escaped(ord(found[0])), name)


def _escaped(code: int) -> str:
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


_SURROGATE = re.compile("[\ud800-\udfff]")


def without_credentials(uri: str) -> str:
    """`uri` without user info and without the parameters that sign or authorise it."""
    scheme, mark, rest = uri.partition("://")
    if not mark:
        return uri
    host, slash, path = rest.partition("/")
    if not scheme.startswith(("az", "abfs", "adl")):  # Azure writes container@account
        host = host.rpartition("@")[2]
    if scheme in ("http", "https"):
        path, _, query = path.partition("?")
        given = parse_qsl(query, keep_blank_values=True)
        plain = [(k, v) for k, v in given if not is_secret(k) and not _BESIDE_A_SIGNATURE.fullmatch(k)]
        path += "?" + urlencode(plain) if plain else ""
    return scheme + mark + host + slash + path


def local_uri(path: str) -> str:
    """How a local file stands on record."""
    absolute = os.path.abspath(path)  # noqa: PTH100 - Path would resolve "..", not collapse it
    try:
        absolute.encode("utf-8")
    except UnicodeEncodeError:
        return "file://" + quote(os.fsencode(absolute))
    return absolute


def local_path(uri: str) -> Path | None:
    """The path behind a recorded URI; None where it is not a local file."""
    if uri.startswith("/"):
        return Path(uri)
    if uri.startswith("file://"):
        return Path(os.fsdecode(unquote_to_bytes(uri.removeprefix("file://"))))
    return None


def grant(uri: str, options: Mapping[str, Any]) -> None:
    """Open what lies in this URI's bucket (container, host) with these options from now on. They may be secret."""
    _granted[_bucket(uri)] = dict(options)


def _bucket(uri: str) -> tuple[str, str]:
    scheme, _, rest = uri.partition("://")
    return kind_of(scheme), re.split(r"[/?#]", rest)[0]


def file_system(uri: str, options: StorageOptions) -> tuple[Any, str]:
    """The fsspec file system of a URI and the path on it. What has no `://` is a local path, whatever its letters mean
    to fsspec (`~` and `::`).

    UserError where the protocol is unknown or not installed, and where the URI carries credentials.
    """
    local = local_path(uri if "://" in uri else local_uri(uri))
    if local is not None:
        return fsspec.filesystem("file"), str(local.absolute())
    kind, bucket = _bucket(refuse_credentials(uri))
    shown = without_credentials(uri)
    uncached = UNCACHED if kind in LISTING else {}
    try:
        fs, path = fsspec.url_to_fs(uri, **{**uncached, **_granted.get((kind, bucket), {}), **options})
    except ImportError as error:
        if kind not in LISTING:
            raise UserError(f"{shown}: {error}") from error
        extra = {"gs": "gcs", "az": "azure", "http": "web"}.get(kind, kind)
        raise UserError(f"{shown}: what reads {kind}:// is not installed: pip install 'matrix-11k[{extra}]'") from error
    except (UserError, MemoryError):
        raise
    except Exception as error:  # of the file system's own making: an option that it does not know, no credentials
        told = one_line(f"{type(error).__name__}: {error}", 300)
        raise UserError(f"{shown}: the file system cannot be opened: {told}") from error
    return fs, path


@contextmanager
def open_source(uri: str, options: StorageOptions) -> Iterator[IO[bytes]]:
    """A recorded file for reading, local or not. Raises OSError, and what tasks/store/trying.py says."""
    path = local_path(uri)
    if path is not None:
        with path.open("rb") as stream:
            yield stream
        return
    fs, name = file_system(uri, options)
    with Remote(fs).open(name) as stream:
        yield stream
