"""The network sees what upstream's transforms and transformers' image processor would show it."""

import cv2
import numpy as np
import pytest
import torch
from groundingdino.datasets import transforms
from PIL import Image
from transformers import GroundingDinoImageProcessor

from tasks.engines.grounding_dino.pixels import SPREAD, target_size, to_pixels

GREY = 1 / 255 / min(SPREAD)
"""One level of 256 after normalisation."""


def upstream(frame, shorter, longer):
    steps = [transforms.RandomResize([shorter], max_size=longer), transforms.ToTensor()]
    steps.append(transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    return transforms.Compose(steps)(Image.fromarray(frame), None)[0]


@pytest.mark.parametrize(("height", "width"), [(480, 720), (720, 480), (64, 64), (1080, 1920), (90, 500), (800, 1000)])
def test_as_upstream_and_as_transformers(height, width):
    rng = np.random.default_rng(height)
    frame = cv2.resize(rng.integers(0, 256, (height // 8, width // 8, 3)).astype(np.uint8), (width, height))
    ours = to_pixels(frame[None], 800, 1333, torch.device("cpu"))[0]
    theirs = upstream(frame, 800, 1333)
    assert ours.shape == theirs.shape
    # The resizing itself is PIL's there and torchvision's here: one grey level apart at most.
    assert (ours - theirs).abs().max() <= GREY * 1.01
    ported = GroundingDinoImageProcessor()(images=frame, return_tensors="pt")["pixel_values"][0]
    assert (ours - ported).abs().max() < 1e-5


def test_where_the_longer_side_bounds_the_size_upstreams_rounding_is_ours():
    frame = np.zeros((480, 832, 3), np.uint8)
    ours = to_pixels(frame[None], 800, 1333, torch.device("cpu"))[0]
    assert ours.shape == upstream(frame, 800, 1333).shape == (3, 769, 1332)
    # transformers multiplies before it rounds. A pixel more or less, and one file of ours for both.
    assert GroundingDinoImageProcessor()(images=frame, return_tensors="pt")["pixel_values"].shape[2:] == (769, 1333)


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((480, 720), (800, 1200)),
        ((720, 480), (1200, 800)),
        ((480, 832), (769, 1332)),  # 1386 would be too long
        ((800, 1000), (800, 1000)),
        ((64, 64), (800, 800)),
        ((10, 1000), (13, 1300)),
    ],
)
def test_sizes(size, wanted):
    assert target_size(*size, 800, 1333) == wanted


def test_frames_that_may_not_be_written_to_are_left_alone():
    frames = np.zeros((2, 40, 60, 3), np.uint8)
    frames.setflags(write=False)
    part = frames[[0, 1]]
    assert to_pixels(part, 40, 60, torch.device("cpu")).shape == (2, 3, 40, 60)
    assert not frames.any()
