"""What a profile's models are on the Hugging Face hub: which files would be loaded, how large, and which are here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from httpx2 import HTTPError
from huggingface_hub import HfApi, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from schemas.hub import out_of_reach
from schemas.text import one_line
from tasks.errors import InfrastructureError, UserError

LOADED = (".safetensors", ".json", ".jinja", "vocab.txt", "merges.txt", ".model")
"""Ends of the files that engines load; what else a repository has (pickles, ONNX, pictures) stays where it is."""


def files_of(name: str, revision: str | None, hub: HfApi | None = None) -> dict[str, int]:
    """Bytes by name of the files that would be loaded.

    UserError where the hub knows no such model, or wants its licence accepted; InfrastructureError where it cannot be
    reached.
    """
    try:
        info = (hub or HfApi()).model_info(name, revision=revision or "main", files_metadata=True, timeout=10)
    except HfHubHTTPError as error:
        raise UserError(
            f"{name}: the hub does not give it ({one_line(error, 200)}): correct the name, or accept its licence on "
            "its page and log in with `hf auth login`"
        ) from None
    except (HTTPError, OfflineModeIsEnabled, OSError) as error:
        raise InfrastructureError(f"{name}: the hub cannot be reached: {one_line(error, 200)}") from None
    named = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    return {file: size for file, size in named.items() if file.endswith(LOADED) and "/" not in file}


def where(name: str, revision: str | None) -> dict[str, Any]:
    """`revision` and `local_files_only` for the libraries' loaders, of a folder or of a name on the hub: where the hub
    is out of reach only its cache is looked in."""
    return {"revision": revision or "main", "local_files_only": not Path(name).expanduser().is_dir() and out_of_reach()}


def is_here(name: str, revision: str | None) -> bool:
    """Whether this machine's cache has a model's configuration. Whether it has the rest, only the hub's list tells."""
    return isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str)


def missing(name: str, revision: str | None, files: Mapping[str, int]) -> dict[str, int]:
    """Of these files, those that are not in this machine's cache."""
    return {
        file: size
        for file, size in files.items()
        if not isinstance(try_to_load_from_cache(name, file, revision=revision), str)
    }


def fetch(name: str, revision: str | None) -> None:
    """Download what is not here, with a progress bar a file on stderr."""
    wanted = [f"*{end}" for end in LOADED]
    try:
        snapshot_download(
            name, revision=revision, allow_patterns=wanted, ignore_patterns=["*/*"], local_files_only=out_of_reach()
        )
    except (HfHubHTTPError, HTTPError, OfflineModeIsEnabled, OSError) as error:
        raise UserError(
            f"{name} cannot be downloaded ({one_line(error, 200)}): see that the hub can be reached and its licence is "
            "accepted, or name a folder that holds it"
        ) from None
