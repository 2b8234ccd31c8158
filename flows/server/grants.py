"""Credentials for buckets out of a Prefect block that the settings name. They stay in this process's memory.

The block is read when a build is opened, by whoever opens it: the settings on record hold its name and nothing of it.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from flows.settings import BuildSettings
from tasks.errors import UserError
from tasks.store.places import grant

Options = dict[str, Any]


def grant_credentials(settings: BuildSettings) -> None:
    """Let this process open the build's source and captions with what `scan.credentials_block` holds.

    UserError where there is no such block, or nothing in it that a file system could use.
    """
    block: str | None = settings.scan.credentials_block
    if block is None:
        return
    options = _options(block)
    for address in (settings.source, settings.captions):
        if address and "://" in address:
            grant(address, options)


def _options(block: str) -> Options:
    # Here, since most builds name no block, and looking at one needs no Prefect.
    from httpx import HTTPError
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound, PrefectException

    kind, _, name = block.partition("/")
    if kind not in _KINDS:
        raise UserError(f"scan.credentials_block: {kind!r} is none of {', '.join(_KINDS)}")
    try:
        with get_client(sync_client=True) as server:
            data = server.read_block_document_by_name(name, kind, include_secrets=True).data
    except ObjectNotFound:
        raise UserError(
            f"scan.credentials_block: the server has no block {block}; make it in the UI under Blocks"
        ) from None
    except (HTTPError, PrefectException) as error:
        raise UserError(f"scan.credentials_block: {block} cannot be read: {type(error).__name__}") from None
    try:
        return _KINDS[kind](data)
    except ValueError:  # of which no word is repeated: it may quote the secret
        raise UserError(
            f"scan.credentials_block: {block} has to hold a JSON object of fsspec options, such as key and secret"
        ) from None


def _of_secret(data: Mapping[str, Any]) -> Options:
    value = data.get("value")
    found = json.loads(value) if isinstance(value, str) else value
    if not isinstance(found, dict) or not found:
        raise ValueError("no options")
    return found


def _of_aws(data: Mapping[str, Any]) -> Options:
    """Of prefect-aws, whose package need not be installed."""
    client = {"region_name": data.get("region_name"), **(data.get("aws_client_parameters") or {})}
    client = {k: v for k, v in client.items() if k in ("region_name", "use_ssl", "verify") and v is not None}
    options = {
        "key": data.get("aws_access_key_id"),
        "secret": data.get("aws_secret_access_key"),
        "token": data.get("aws_session_token"),
        "profile": data.get("profile_name"),
        "endpoint_url": (data.get("aws_client_parameters") or {}).get("endpoint_url"),
        "client_kwargs": client or None,
    }
    found = {k: v for k, v in options.items() if v is not None}
    if not found:
        raise ValueError("no options")
    return found


_KINDS: dict[str, Callable[[Mapping[str, Any]], Options]] = {"secret": _of_secret, "aws-credentials": _of_aws}
"""Types of block, by their slug, and the fsspec options in each."""
