"""Runs of tiny models as training leaves it, their weights drawn: no step is trained here."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from matrix_train.align.decoder import MapDecoder
from matrix_train.backbones import backbone_class, trainable_parameters
from matrix_train.config import dump_config, load_config
from matrix_train.fit.assembly import make_random_model
from matrix_train.fit.checkpoint import TRAINABLE_FILE
from schemas.idmap import encode_id_map
from tests.matrix_train.fitting import TINY, settings


@pytest.fixture(scope="session")
def sampled_run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn_run(dataset, tmp_path_factory.mktemp("sampled") / "run", "tiny")


@pytest.fixture(scope="session")
def other_run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of another backbone, which asks the text in an attention of its own."""
    return drawn_run(dataset, tmp_path_factory.mktemp("other") / "run", "tiny_wan22")


def drawn_run(dataset: Path, folder: Path, recipe: str) -> Path:
    changes = ("validation.sampling_steps=2", "data.frames=5", "lora.rank=4", "lora.alpha=2")
    where = f"model.path={dataset.parent / f'model-{recipe}'}"
    config = load_config(TINY.with_name(f"{recipe}.yaml"), settings(dataset, folder, where, *changes))
    make_random_model(config)
    backbone = backbone_class(config.model.path).load(config.model.path)
    backbone.add_lora((1, 3), 4, 2)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in backbone.trainable().values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    checkpoint = folder / "checkpoints/step-00000002"
    checkpoint.mkdir(parents=True)
    trained = trainable_parameters(backbone, {"sga": MapDecoder(), "spa": MapDecoder()})
    about = {"rank": 4, "alpha": 2, "blocks": (1, 3), "backbone": backbone.name}
    save_file(
        {name: value.detach().float().contiguous() for name, value in trained.items()}, checkpoint / TRAINABLE_FILE,
        {name: value if isinstance(value, str) else json.dumps(value) for name, value in about.items()},
    )  # fmt: skip
    (folder / "config.yaml").write_text(dump_config(config))
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`i.png`, 96 × 64, and `m.png`, its ID map: id1 on the left, id2 on the right."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    pixels = np.full((64, 96, 3), 190, np.uint8)
    indices = np.zeros((64, 96), np.uint8)
    for k, (left, colour) in enumerate([(10, (200, 40, 40)), (60, (40, 60, 200))], 1):
        pixels[20:50, left : left + 24], indices[20:50, left : left + 24] = colour, k
    noisy = np.clip(pixels + rng.integers(-4, 5, pixels.shape), 0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(folder / "i.png")
    (folder / "m.png").write_bytes(encode_id_map(indices))
    return folder
