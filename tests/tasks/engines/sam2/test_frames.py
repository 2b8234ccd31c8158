import numpy as np
import pytest
import torch
from PIL import Image

from tasks.engines.sam2.frames import IMAGENET, in_steps, to_input, to_mask_input, to_masks
from tests.tasks.engines.sam2.scenes import scene

CPU = torch.device("cpu")
MODES = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def in_bytes(pixels):
    """Back from what the encoder sees to bytes [size, size, 3]."""
    mean, std = map(torch.tensor, IMAGENET)
    return ((pixels[0].permute(1, 2, 0) * std + mean) * 255).round().numpy()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("height", "width", "size"), [(480, 720, 256), (96, 64, 128), (50, 300, 128)])
def test_frames_are_resized_as_pil_does_on_either_kind_of_device(mode, height, width, size):
    frame = scene(1, height, width)[0]
    wanted = np.array(Image.fromarray(frame).resize((size, size), MODES[mode])).astype(np.float32)
    on_gpu = in_steps(torch.from_numpy(frame).permute(2, 0, 1)[None], size, mode)[0].permute(1, 2, 0).numpy()
    for found in (in_bytes(to_input(frame, size, CPU, mode)), on_gpu):
        assert np.abs(found - wanted).max() <= 2
        assert np.mean(found != wanted) < 0.05


def test_a_frame_of_the_right_size_is_only_normalised():
    frame = scene(1, 64, 64)[0]
    assert np.array_equal(in_bytes(to_input(frame, 64, CPU, "bicubic")), frame)


def test_masks_are_resized_before_they_are_cut():
    logits = torch.tensor([[[-1.0, 3.0], [-1.0, 3.0]], [[-5.0, -1.0], [-5.0, -1.0]]])
    masks = to_masks(logits, (2, 8))
    assert masks.dtype == bool and masks.shape == (2, 2, 8)
    assert masks[0].tolist() == [[False] * 3 + [True] * 5] * 2  # the edge lies at a quarter of the way, not at half
    assert not masks[1].any()


def test_a_mask_becomes_a_prompt_of_the_encoders_size():
    mask = np.zeros((48, 72), bool)
    mask[:, 36:] = True
    prompt = to_mask_input(mask, 64, CPU)
    assert prompt.shape == (1, 1, 64, 64)
    assert prompt[..., :31].sum() == 0 and prompt[..., 33:].min() == 1
    square = np.eye(64, dtype=bool)
    assert np.array_equal(to_mask_input(square, 64, CPU)[0, 0].numpy(), square)
