"""Peak memory, counted on cases worked out by hand."""

from typing import Any

import torch
from diffusers import AutoencoderKLCogVideoX

from matrix_train.backbones import CogVideoX
from matrix_train.backbones.collector import Checkpointing
from matrix_train.plan.flops import training_step
from matrix_train.plan.memory import PeakBytes, peak_bytes


def test_what_is_dropped_is_not_counted_twice() -> None:
    outside = torch.zeros(1000, device="meta")
    with PeakBytes() as memory:
        a = outside + 1  # 4 000 bytes
        b = a * 2  # 8 000
        del a, b
        c = outside * 3
        d = c + 1
        e = d + 1  # 12 000
        del c, d
    assert (memory.peak, memory.live) == (12_000, 4_000)
    del e


def test_views_are_their_storage() -> None:
    outside = torch.zeros(10, 10, device="meta")
    with PeakBytes() as memory:
        outside.view(100).t()
        made = outside + 1
        made[2:].flatten(), made.t()
    assert memory.peak == 400


def test_what_the_backward_pass_keeps_is_counted() -> None:
    weight = torch.zeros(10, 10, device="meta", requires_grad=True)
    with PeakBytes() as memory:
        x = weight
        for _ in range(5):
            x = (x @ weight).relu()
        kept = memory.live
        torch.autograd.backward(x.sum())
    # Every product's argument and every relu's result stay; the products themselves do not.
    assert kept == 5 * 400
    assert memory.peak > kept


def test_tiles_counted_once_give_the_whole_count() -> None:
    """Nine tiles of three kinds of edge, five latent frames in two batches of frames and one with the remainder."""
    unused: Any = None
    with torch.device("meta"):
        vae: Any = AutoencoderKLCogVideoX(
            block_out_channels=(8, 8, 8, 16), layers_per_block=1, norm_num_groups=4, sample_height=128, sample_width=128
        )
        clip, latents = torch.zeros(1, 33, 3, 96, 96, dtype=torch.uint8), torch.zeros(1, 5, 16, 18, 18)
    encoders = CogVideoX.encoders(vae, {}, unused, unused)
    runs: list[int] = []
    for module in encoders.repeated():
        module.conv_in.register_forward_hook(lambda *_: runs.append(1))
    for run, times, kinds in ((lambda: encoders.decode(latents), 9 * 2, 4 * 2), (lambda: encoders.video(clip), 4, 2)):
        whole, whole_runs = peak_bytes(run), len(runs)
        once, once_runs = peak_bytes(run, encoders.repeated()), len(runs) - whole_runs
        assert whole == once > 0
        assert (whole_runs, once_runs) == (times, kinds)
        runs.clear()


def test_a_step_of_5b_holds_no_square_of_its_tokens_and_checkpointing_saves_what_it_says() -> None:
    """17 776 tokens: one N × N matrix of one head is 0.6 GB, those of 48 heads are 30 GB."""
    peaks = {}
    kinds: tuple[Checkpointing | None, ...] = (None, "selective", "full")
    for kind in kinds:
        backbone = CogVideoX.from_config({**CogVideoX.released.config, "num_layers": 6}, torch.bfloat16, "meta")
        backbone.add_lora(blocks=range(6), rank=128, alpha=64)
        if kind:
            backbone.enable_checkpointing(kind)
        peaks[kind] = peak_bytes(training_step(backbone, 49, 480, 720, None, 8)) / 1e9
    assert peaks["full"] < 0.9 * peaks["selective"] < 0.8 * peaks[None] < 30
