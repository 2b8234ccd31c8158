"""Parts of a pipeline off the disk or the hub: safetensors only, every weight out of the file, errors in one line.

Never a pickle: a `.bin` can run code. Never a guess either: both libraries draw a weight that is missing at random, and
transformers makes an empty tokenizer of a missing one, and training would go on with it.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
from transformers.utils.hub import cached_file, extract_commit_hash

from matrix_train.backbones.hub import where
from matrix_train.errors import UserError
from schemas.text import one_line

# diffusers is typed in part only.
_config_class: Any = ConfigMixin

TOKENIZER_FILES = ("tokenizer.json", "spiece.model")


def read_weights(kind: Any, name_or_path: str, part: str, revision: str | None, **options: Any) -> Any:
    """`kind.from_pretrained` of the pipeline's subfolder `part`. UserError where it is not whole and readable."""
    options |= where(name_or_path, revision)
    try:
        found, info = kind.from_pretrained(
            name_or_path, subfolder=part, use_safetensors=True, output_loading_info=True, **options
        )
    except Exception as error:  # json, safetensors and torch under two libraries: each has its own
        raise _unreadable(name_or_path, part, error) from None
    missing = sorted(info["missing_keys"])
    if missing:
        raise UserError(
            f"model.path {name_or_path}: {part} lacks {missing[0]} and {len(missing) - 1} more weights: fetch it again"
        )
    return found


def cast(model: Any, dtype: torch.dtype) -> Any:
    """In this dtype, but for what diffusers keeps in float32 when it loads such weights."""
    kept = set(model._keep_in_fp32_modules or ()) if dtype != torch.float32 else set()
    for name, module in model.named_modules():
        for own, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            if tensor.is_floating_point() and kept.isdisjoint((*name.split("."), own)):
                tensor.data = tensor.data.to(dtype)
    return model


def read_tokenizer_of(kind: Any, name_or_path: str, revision: str | None) -> Any:
    """The tokenizer of the pipeline's subfolder. UserError where there is none."""
    options = {"subfolder": "tokenizer", **where(name_or_path, revision)}
    try:
        files = [
            cached_file(name_or_path, file, _raise_exceptions_for_missing_entries=False, **options)
            for file in TOKENIZER_FILES
        ]
        if not any(files):
            if not Path(name_or_path).is_dir():
                cached_file(name_or_path, TOKENIZER_FILES[-1], **options)  # says so where the hub was not asked at all
            raise FileNotFoundError(f"there is no {' or '.join(TOKENIZER_FILES)}")
        return kind.from_pretrained(name_or_path, **options)
    except Exception as error:  # as above
        raise _unreadable(name_or_path, "tokenizer", error) from None


def read_config(kind: Any, name_or_path: str, part: str, revision: str | None) -> dict[str, Any]:
    """The configuration in the pipeline's subfolder `part`. UserError where it cannot be read."""
    options = where(name_or_path, revision)
    try:
        found = kind.load_config(name_or_path, subfolder=part, **options)
        if not isinstance(found, dict):
            raise TypeError("its configuration is not a JSON object")
    except Exception as error:  # as above
        raise _unreadable(name_or_path, part, error) from None
    return found


class _AnyModel(_config_class):  # type: ignore[misc]
    config_name = "config.json"


def read_transformer_config(name_or_path: str, revision: str | None) -> tuple[str, dict[str, Any]]:
    """The name of the transformer's class in diffusers, and its configuration. UserError where it cannot be read."""
    found = read_config(_AnyModel, name_or_path, "transformer", revision)
    return str(found.get("_class_name")), found


def read_transformers_config(kind: Any, name_or_path: str, part: str, revision: str | None) -> Any:
    """The same of a model of transformers, as its configuration object."""
    options = where(name_or_path, revision)
    try:
        return kind.config_class.from_pretrained(name_or_path, subfolder=part, **options)
    except Exception as error:  # as above
        raise _unreadable(name_or_path, part, error) from None


def read_commit(name_or_path: str, part: str, revision: str | None) -> str:
    """The commit that a name on the hub and a revision stand for now. UserError where it cannot be read."""
    options = where(name_or_path, revision)
    try:
        file = cached_file(name_or_path, "config.json", subfolder=part, **options)
    except Exception as error:  # as above
        raise _unreadable(name_or_path, part, error) from None
    commit: str | None = extract_commit_hash(file, None)
    assert commit is not None, file  # only a local folder has none
    return commit


def _unreadable(name_or_path: str, part: str, error: Exception) -> UserError:
    before: BaseException | None = error
    while before is not None:
        # Both libraries report a file that the hub could not be asked for as one that it does not have.
        if isinstance(before, LocalEntryNotFoundError | OfflineModeIsEnabled):
            return UserError(
                f"model.path {name_or_path}: there is no such folder, the hub cannot be reached, and {part} is not in "
                "its cache here: correct the folder, or see to the network"
            )
        before = before.__cause__ or before.__context__
    return UserError(f"model.path {name_or_path}: {part} cannot be read: {one_line(error)}")
