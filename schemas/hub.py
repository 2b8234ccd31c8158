"""Whether the Hugging Face hub can be asked for a model: found out by one short request before a library goes there,
and asked again after a minute, for a worker may live for weeks. Pipeline and trainer share it.

Where a file is neither in the cache nor to be had, the hub's library asks five more times, half a minute in all, and
says so each time. That suits a download that a bad moment breaks; a mistyped folder, or a machine without network,
should be told at once.
"""

import time

from httpx2 import HTTPError, InvalidURL
from huggingface_hub import constants, get_session

PATIENCE = 5.0
"""Seconds for a connection, and for its first answer."""

AGAIN = 60.0
"""Seconds after which a hub that was out of reach is asked again."""

_silent: dict[str, float] = {}
"""When an endpoint was found out of reach."""

_heard = set[str]()


def out_of_reach() -> bool:
    """Whether only the cache can be looked in."""
    return constants.is_offline_mode() or not _answers(constants.ENDPOINT)


def _answers(endpoint: str) -> bool:
    """Whatever it answers."""
    if endpoint in _heard:
        return True
    if time.monotonic() - _silent.get(endpoint, -AGAIN) < AGAIN:
        return False
    try:
        get_session().head(endpoint, timeout=PATIENCE)
    except (HTTPError, InvalidURL):
        _silent[endpoint] = time.monotonic()
        return False
    _heard.add(endpoint)
    return True
