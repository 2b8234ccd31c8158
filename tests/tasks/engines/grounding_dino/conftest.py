"""One tiny model per implementation, with the same random weights, saved once and loaded by path."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from schemas.settings import validate
from tasks.engines.grounding_dino.engine import GroundingDino
from tasks.store.folder import Folder
from tests.tasks.engines.tiny_dino import save_tiny

SEED = 8
"""Weights that give every noun of the tests boxes above and below the thresholds, and boxes that overlap."""

IMPLEMENTATIONS = ("groundingdino", "transformers")


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Options per implementation."""
    return {name: save_tiny(tmp_path_factory.mktemp(name), name, SEED) for name in IMPLEMENTATIONS}


def make(options: dict[str, Any]) -> GroundingDino:
    return GroundingDino(validate(GroundingDino.Options, options), Folder("/nowhere"))


@pytest.fixture
def engine(saved: dict[str, dict[str, Any]]) -> Callable[..., GroundingDino]:
    """`engine(implementation, **more options)`, not yet loaded."""

    def of(implementation: str = "groundingdino", **more: Any) -> GroundingDino:
        return make({**saved[implementation], **more})

    return of


@pytest.fixture(scope="session")
def networks(saved: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Per implementation the loaded network."""
    return {name: make(options)._load() for name, options in saved.items()}


@pytest.fixture
def ready(engine: Callable[..., GroundingDino], networks: dict[str, Any]) -> Callable[..., GroundingDino]:
    """The same as `engine`, with the network that is loaded already, where loading is not what a test is about."""

    def of(implementation: str = "groundingdino", **more: Any) -> GroundingDino:
        made = engine(implementation, **more)
        made._network = networks[implementation]
        return made

    return of


@pytest.fixture(scope="session")
def frames() -> np.ndarray:
    """Five frames of smooth random colours, uint8 [5, 48, 72, 3]."""
    rng = np.random.default_rng(0)
    return np.stack([cv2.resize(rng.integers(0, 256, (6, 9, 3)).astype(np.uint8), (72, 48)) for _ in range(5)])


@pytest.fixture(scope="session")
def tokenizer(saved: dict[str, dict[str, Any]]) -> Any:
    from tasks.engines.grounding_dino.network import load_tokenizer

    return load_tokenizer(str(Path(saved["groundingdino"]["text_encoder"])), None)
