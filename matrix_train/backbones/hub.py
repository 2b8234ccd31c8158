"""What the libraries' loaders are told of a pipeline: a folder, or a name that the hub or its cache is asked for."""

from pathlib import Path
from typing import Any

from matrix_train.errors import UserError
from schemas.hub import out_of_reach


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
    return {"revision": revision, "local_files_only": out_of_reach()}
