"""Whether the Hugging Face hub can be asked for a model: found out once, by one short request, before a library goes
there. Pipeline and trainer share it.

Where a file is neither in the cache nor to be had, the hub's library asks five more times, half a minute in all, and
says so each time. That suits a download that a bad moment breaks; a mistyped folder, or a machine without network,
should be told at once.
"""

from functools import cache

from httpx2 import HTTPError
from huggingface_hub import constants, get_session

PATIENCE = 5.0
"""Seconds for a connection, and for its first answer."""


def out_of_reach() -> bool:
    """Whether only the cache can be looked in."""
    return constants.is_offline_mode() or not _answers(constants.ENDPOINT)


@cache
def _answers(endpoint: str) -> bool:
    """Whatever it answers."""
    try:
        get_session().head(endpoint, timeout=PATIENCE)
    except HTTPError:
        return False
    return True
