"""Whether the hub can be asked for a model: found out once, by one short request, before a library goes there.

Where a file is neither in the cache nor to be had, the hub's library asks five more times, half a minute in all, and
says so each time. That suits a download that a bad moment breaks; a mistyped folder, or a machine without network,
should be told at once.
"""

from functools import cache
from pathlib import Path
from typing import Any

from httpx2 import HTTPError
from huggingface_hub import constants, get_session

from matrix_train.errors import UserError

PATIENCE = 5.0
"""Seconds for a connection, and for its first answer."""


def where(name_or_path: str, revision: str | None) -> dict[str, Any]:
    """`revision` and `local_files_only` for the libraries' loaders: only the cache is looked in where the hub is out of
    reach.

    UserError for what is neither a folder nor can be a name on the hub.
    """
    if Path(name_or_path).is_dir():
        return {"revision": revision}
    parts = name_or_path.split("/")
    if len(parts) > 2 or not all(part.strip(".~") for part in parts):
        raise UserError(f"model.path {name_or_path}: there is no such folder: correct it, or give a name on the hub")
    alone = constants.is_offline_mode() or not _answers(constants.ENDPOINT)
    return {"revision": revision, "local_files_only": alone}


@cache
def _answers(endpoint: str) -> bool:
    """Whatever it answers."""
    try:
        get_session().head(endpoint, timeout=PATIENCE)
    except HTTPError:
        return False
    return True
