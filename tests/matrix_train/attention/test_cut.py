"""Attention with zeroed entries against matrices that are really formed."""

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from matrix_train.attention.cut import Words, cut_frames, cut_words
from matrix_train.attention.maps import Layout

FRAMES, CELLS, TEXT = 3, 20, 7
VIDEO = FRAMES * CELLS
LAYOUTS = {"joint": Layout.joint(TEXT, VIDEO), "alone": Layout.alone(VIDEO), "cross": Layout.cross(TEXT, VIDEO)}
SIZES = {"joint": (TEXT + VIDEO, TEXT + VIDEO), "alone": (VIDEO, VIDEO), "cross": (VIDEO, TEXT)}


def tensors(kind: str, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    queries, keys = SIZES[kind]
    # Wide products, so that rows are far from even.
    return tuple(
        (2 * torch.randn(2, 3, n, 16, generator=generator, dtype=torch.float64)).to(dtype)
        for n in (queries, keys, keys)
    )  # type: ignore[return-value]


def dense(q: Tensor, k: Tensor, v: Tensor, zeroed: Tensor) -> Tensor:
    """zeroed: bool [N, M]."""
    q, k, v = (x.double() for x in (q, k, v))
    return (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).softmax(-1).masked_fill(zeroed, 0) @ v


def words() -> Words:
    """Two roles that share a token, one of which goes nowhere; the regions overlap."""
    first, second = torch.zeros(2, VIDEO, dtype=torch.bool)
    first[2:9], second[[5, 30, 59]] = True, True
    return Words.of([((1, 4), first), ((4, 6), second), ((2,), torch.zeros(VIDEO, dtype=torch.bool))])


@pytest.mark.parametrize("kind", ["joint", "cross"])
def test_words_are_cut_on_their_regions_alone(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = tensors(kind)
    zeroed = torch.zeros(SIZES[kind], dtype=torch.bool)
    for cell in range(VIDEO):
        first, second = 2 <= cell < 9, cell in (5, 30, 59)
        row = zeroed[cell + (TEXT if kind == "joint" else 0)]
        row[1], row[4], row[6] = first, first or second, second
    want = dense(q, k, v, zeroed)
    torch.testing.assert_close(cut_words(q, k, v, LAYOUTS[kind], words()).double(), want, rtol=0, atol=1e-5)
    monkeypatch.setattr("matrix_train.attention.cut.CHUNK_ELEMENTS", 1)  # head by head
    torch.testing.assert_close(cut_words(q, k, v, LAYOUTS[kind], words()).double(), want, rtol=0, atol=1e-5)
    assert (want - dense(q, k, v, torch.zeros_like(zeroed))).abs().max() > 0.1


@pytest.mark.parametrize("kind", ["joint", "alone"])
def test_frames_see_no_other_frame_and_all_of_the_text(kind: str) -> None:
    q, k, v = tensors(kind)
    text = TEXT if kind == "joint" else 0
    frame = torch.arange(VIDEO) // CELLS
    zeroed = torch.zeros(SIZES[kind], dtype=torch.bool)
    zeroed[text:, text:] = frame[:, None] != frame
    want = dense(q, k, v, zeroed)
    torch.testing.assert_close(cut_frames(q, k, v, LAYOUTS[kind], FRAMES).double(), want, rtol=0, atol=1e-5)
    half = [x.bfloat16() for x in (q, k, v)]
    got = cut_frames(*half, LAYOUTS[kind], FRAMES)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.double(), dense(*half, zeroed), rtol=0.02, atol=0.05)


def test_one_frame_loses_nothing() -> None:
    q, k, v = tensors("alone")
    got = cut_frames(q, k, v, LAYOUTS["alone"], 1)
    torch.testing.assert_close(got, torch.nn.functional.scaled_dot_product_attention(q, k, v), rtol=0, atol=1e-5)


class Largest(TorchDispatchMode):
    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else (out,):
            if isinstance(value, Tensor):
                self.elements = max(self.elements, value.numel())
        return out


def test_nothing_of_n_squared_elements_is_formed() -> None:
    video, frames = 4096, 16
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 1, video + 8, 8, generator=generator) for _ in range(3))
    layout = Layout.joint(8, video)
    everywhere = Words.of([((1, 2), torch.ones(video, dtype=torch.bool))])
    with Largest() as seen:
        cut_words(q, k, v, layout, everywhere)
        cut_frames(q, k, v, layout, frames)
    assert seen.elements <= 2 * q.numel() < video**2 / 64
