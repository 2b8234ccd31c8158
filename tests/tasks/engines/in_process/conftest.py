"""Tiny models of random weights, saved as a user's are, and engines over them that are closed in the end."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.engines.in_process.engine import InProcessLanguage
from tasks.store.folder import Folder
from tests.tasks.engines import tiny_language
from tests.tasks.engines.served import tiny_vlm


@pytest.fixture(scope="session")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a vision-language model."""
    folder = tmp_path_factory.mktemp("tiny-vlm")
    tiny_vlm.save_tiny(folder)
    return str(folder)


@pytest.fixture(scope="session")
def llm(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a causal language model."""
    folder = tmp_path_factory.mktemp("tiny-llm")
    tiny_language.save_tiny(folder)
    return str(folder)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """engine(folder, kind=InProcessLanguage, **options) makes one that is closed in the end."""
    made = []

    def make(checkpoint: str, kind: type[Any] = InProcessLanguage, home: str = "replies", **options: Any) -> Any:
        given = {"checkpoint": checkpoint, "device": "cpu", "max_tokens": 300} | options
        made.append(kind(kind.Options(**given), Folder(str(tmp_path / home))))
        return made[-1]

    yield make
    for one in made:
        one.close()
