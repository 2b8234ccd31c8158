"""SGA and SPA: the numbers by hand, and what is so by definition."""

import math

import pytest
import torch
from torch import Tensor

from matrix_train.align import losses
from matrix_train.align.decoder import MapDecoder
from matrix_train.align.losses import PARTS, Alignment, LossWeights, alignment_loss, mask_parts
from matrix_train.align.metrics import aas, inside_over_outside, latent_masks, map_mask_correlation, mean_and_spread
from matrix_train.attention.roles import role_masks

FRAMES, HEIGHT, WIDTH = 3, 2, 3


def masks(stride: int) -> Tensor:
    """Of one interaction, of two samples alike."""
    instances = torch.zeros(2, 2, 9, 32, 48, dtype=torch.uint8)
    instances[:, 0, :, :16, :16] = 1
    instances[:, 1, 2:, 8:24, 10:40] = 1
    return role_masks(instances, torch.tensor([[0, 1]]).expand(2, 1, 2), stride)


def setting(seed: int = 0) -> tuple[dict[str, list[Tensor]], dict[str, MapDecoder]]:
    torch.manual_seed(seed)
    maps = {
        "sga": [torch.randn(2, 3, FRAMES, HEIGHT, WIDTH, requires_grad=True) for _ in range(2)],
        "spa": [torch.randn(2, 3, FRAMES, HEIGHT, WIDTH, requires_grad=True)],
    }
    return maps, {"sga": MapDecoder(blocks=2), "spa": MapDecoder()}


def everyone() -> dict[str, Tensor]:
    return {"sga": torch.ones(2, 3, dtype=torch.bool), "spa": torch.ones(2, 3, dtype=torch.bool)}


def run(maps, decoders, present, weights=LossWeights(), stride=4, timestep_weight=None, role=None) -> Alignment:  # noqa: B008
    targets = masks(stride) if role is None else role
    return alignment_loss(maps, decoders, targets, present, weights, stride, timestep_weight)


def test_parts_by_hand() -> None:
    logits = torch.tensor([0.0, 2.0, -1.0, 3.0]).view(1, 1, 1, 2, 2)  # at stride 8 the lattice itself
    y = torch.tensor([0.0, 1.0, 0.0, 0.0]).view(1, 1, 1, 2, 2)
    s = [1 / (1 + math.exp(-v)) for v in (0.0, 2.0, -1.0, 3.0)]
    bce = -(math.log(1 - s[0]) + 3 * math.log(s[1]) + math.log(1 - s[2]) + math.log(1 - s[3])) / 4
    dice = 1 - 2 * s[1] / (sum(s) + 1)
    l2 = (s[0] ** 2 + (1 - s[1]) ** 2 + s[2] ** 2 + s[3] ** 2) / 4
    assert mask_parts(logits, y, 8, 10.0)[0, 0].tolist() == pytest.approx([bce, dice, l2])
    bce = -(math.log(1 - s[0]) + 2 * math.log(s[1]) + math.log(1 - s[2]) + math.log(1 - s[3])) / 4
    assert float(mask_parts(logits, y, 8, 2.0)[0, 0, 0]) == pytest.approx(bce)


def test_an_empty_mask_has_bce_and_l2_but_no_dice() -> None:
    logits = torch.randn(1, 1, 2, 4, 4, requires_grad=True)
    parts = mask_parts(logits, torch.zeros(1, 1, 2, 4, 4), 8, 10.0)[0, 0]
    s = logits.detach().sigmoid()
    assert parts.tolist() == pytest.approx([float(-(1 - s).log().mean()), 0.0, float(s.square().mean())])
    (grad,) = torch.autograd.grad(parts.sum(), logits)
    assert torch.isfinite(grad).all()
    assert (grad > 0).all()  # it only pushes down
    full = mask_parts(logits, torch.ones(1, 1, 2, 4, 4), 8, 10.0)[0, 0]
    assert torch.isfinite(full).all()
    assert full[0] == 0  # neg / pos = 0: with nothing outside there is nothing to tell apart


def test_frames_in_chunks_give_the_same_parts_and_gradient(monkeypatch) -> None:
    """One chunk against a few frames at a time, with logits that the whole decoder makes, at stride 2."""
    m, decoder = setting()[0]["sga"][0], MapDecoder()
    targets = masks(2)
    results = []
    for pixels in (2**21, 5000, 1):
        monkeypatch.setitem(losses.CHUNK_PIXELS, "cpu", pixels)
        parts = mask_parts(decoder.lattice(m), targets, 2, 10.0)
        results.append((parts, *torch.autograd.grad(parts.sum(), [m, decoder.raw_gain])))
    for other in results[1:]:
        for got, want in zip(other, results[0], strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    x, y = decoder(m, 2).sigmoid(), targets
    dice = 1 - 2 * (x * y).sum((2, 3, 4)) / (x + y).sum((2, 3, 4))
    torch.testing.assert_close(results[0][0][..., 1], dice)


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_the_total_is_the_formula(stride) -> None:
    maps, decoders = setting()
    weights = LossWeights(sga=0.3, spa=0.7, bce=1.5, dice=0.5, l2=2.0)
    targets = masks(stride)
    got = run(maps, decoders, everyone(), weights, stride)
    betas = torch.tensor([1.5, 0.5, 2.0])
    expected = torch.zeros(())
    for family, scale, roles in (("sga", 0.3, [0, 1, 2]), ("spa", 0.7, [0, 2])):
        for m in maps[family]:
            parts = mask_parts(decoders[family].lattice(m), targets, stride, 10.0)
            expected = expected + scale * (parts[:, roles].sum(dim=1) @ betas).mean() / len(maps[family])
    torch.testing.assert_close(got.total, expected)
    leaves = [*maps["sga"], *maps["spa"], decoders["sga"].raw_gain, decoders["spa"].level]
    for a, b in zip(torch.autograd.grad(got.total, leaves), torch.autograd.grad(expected, leaves), strict=True):
        torch.testing.assert_close(a, b)


def test_interactions_of_a_sample_are_averaged() -> None:
    """The second sample has one interaction, the first two, one of which has no words."""
    torch.manual_seed(0)
    maps = {
        "sga": [torch.randn(2, 6, FRAMES, HEIGHT, WIDTH) for _ in range(2)],
        "spa": [torch.randn(2, 6, FRAMES, HEIGHT, WIDTH)],
    }
    decoders = setting()[1]
    targets = masks(4).repeat(1, 2, 1, 1, 1)
    targets[:, 3:] = targets[:, 3:].flip(-1)
    present = {family: torch.tensor([[True] * 6, [True] * 3 + [False] * 3]) for family in ("sga", "spa")}
    present["sga"][0, :3] = False
    got = run(maps, decoders, present, role=targets)

    def one(sample: int, act: int, **families: bool) -> Alignment:
        roles = slice(3 * act, 3 * act + 3)
        part = {family: [m[sample : sample + 1, roles] for m in blocks] for family, blocks in maps.items()}
        there = {family: torch.full((1, 3), families.get(family, True)) for family in maps}
        return run(part, decoders, there, role=targets[sample : sample + 1, roles])

    first = one(0, 1, spa=False).total + (one(0, 0, sga=False).total + one(0, 1, sga=False).total) / 2
    torch.testing.assert_close(got.total, (first + one(1, 0).total) / 2)


def test_the_log_adds_up() -> None:
    maps, decoders = setting()
    timestep_weight = torch.tensor([0.5, 2.0])
    got = run(maps, decoders, everyone(), LossWeights(bce=2.0), timestep_weight=timestep_weight)
    logs = got.logs
    weighted = [logs[f"{family}.{part}.weighted"] for family in ("sga", "spa") for part in PARTS]
    torch.testing.assert_close(torch.stack(weighted).sum(), got.total.detach())
    torch.testing.assert_close(logs["sga.weighted"] + logs["spa.weighted"], got.total.detach())
    for family, roles in (("sga", ("subject", "verb", "object")), ("spa", ("subject", "object"))):
        torch.testing.assert_close(logs[family], sum(logs[f"{family}.{role}"] for role in roles))
        torch.testing.assert_close(
            logs[family], 2 * logs[f"{family}.bce"] + logs[f"{family}.dice"] + logs[f"{family}.l2"]
        )
    assert "spa.verb" not in logs
    assert not any(value.requires_grad for value in logs.values())


def test_timestep_weights_scale_each_sample() -> None:
    maps, decoders = setting()
    each = [run(maps, decoders, everyone(), timestep_weight=torch.eye(2)[i]).total for i in (0, 1)]
    both = run(maps, decoders, everyone(), timestep_weight=torch.tensor([0.25, 3.0])).total
    torch.testing.assert_close(both, 0.25 * each[0] + 3.0 * each[1])


def test_an_absent_role_adds_exactly_nothing() -> None:
    maps, decoders = setting()
    with torch.no_grad():
        maps["sga"][0][0, 1], maps["sga"][1][0, 1] = 0.0, 0.0  # what attention gives for an absent role
    present = everyone()
    present["sga"][0, 1] = False
    got = run(maps, decoders, present)
    others = everyone()
    others["sga"][:, 0], others["sga"][:, 2], others["sga"][1, 1] = False, False, False
    others["spa"][:] = False
    # Whatever its mask says: value and gradients do not move.
    targets = masks(4)
    targets[0, 1] = 1 - targets[0, 1]
    again = run(maps, decoders, present, role=targets)
    assert torch.equal(got.total, again.total)
    grads = torch.autograd.grad(got.total, [*maps["sga"], *decoders["sga"].parameters()])
    assert not grads[0][0, 1].any()
    assert not grads[1][0, 1].any()
    assert grads[0][1, 1].any()
    alone = everyone()
    alone["sga"][:], alone["spa"][:], alone["sga"][0, 1] = False, False, False
    nothing = run(maps, decoders, alone)
    assert float(nothing.total.detach()) == 0.0
    parameters = [*decoders["sga"].parameters(), *decoders["spa"].parameters(), *maps["sga"]]
    assert all(not grad.any() for grad in torch.autograd.grad(nothing.total, parameters))


def test_aligning_raises_attention_inside_the_mask() -> None:
    """Gradient descent on a map through the fresh head makes it agree with the mask, with a positive sign."""
    torch.manual_seed(0)
    decoders = {"sga": MapDecoder(), "spa": MapDecoder()}
    m = (torch.randn(2, 3, FRAMES, HEIGHT, WIDTH) * 0.1).requires_grad_()
    latent = latent_masks(masks(1), HEIGHT, WIDTH)
    optimiser = torch.optim.Adam([m, *decoders["sga"].parameters()], lr=0.05)
    before, _ = map_mask_correlation(m.detach(), latent)
    for _ in range(30):
        optimiser.zero_grad()
        run({"sga": [m]}, decoders, everyone()).total.backward()
        optimiser.step()
    after, defined = map_mask_correlation(m.detach(), latent)
    assert defined.all()
    assert (after > before).all()
    assert (after > 0.5).all()


@pytest.mark.parametrize("mode", ["logits", "centred", "softmax"])
def test_more_attention_to_the_right_cells_is_a_smaller_loss(mode) -> None:
    """Not only where attention goes, but how much: a map that is right already is better with more contrast."""
    decoder, targets = MapDecoder(mode=mode), masks(4)[:, :1]
    inside = torch.zeros(2, 1, FRAMES, HEIGHT, WIDTH)
    inside[..., 0, 0] = 1.0
    losses = []
    for nats in (0.0, 2.0, 4.0, 6.0):
        m = nats * inside
        m = m.exp() / inside[0, 0].numel() if mode == "softmax" else m
        losses.append(float(mask_parts(decoder.lattice(m), targets, 4, 10.0).sum().detach()))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.6 * losses[0]


def test_latent_masks_join_groups_of_four() -> None:
    tracks = torch.zeros(1, 1, 9, 32, 48)
    tracks[0, 0, 0, :16, :16] = 1
    tracks[0, 0, 4, :16, 16:32] = 1  # last frame of the first group
    tracks[0, 0, 5, 16:, 32:] = 1  # first frame of the second
    got = latent_masks(tracks, 2, 3)
    assert got.shape == (1, 1, 3, 2, 3)
    assert got.flatten().nonzero().flatten().tolist() == [0, 6 + 1, 12 + 5]


def test_aas_is_the_attention_inside() -> None:
    maps, mask = torch.rand(2, 3, 3, 2, 3), torch.zeros(2, 3, 3, 2, 3, dtype=torch.bool)
    mask[0, 0, 0, 0, :2], mask[1, 2] = True, True
    got = aas(maps, mask)
    assert float(got[0, 0]) == pytest.approx(float(maps[0, 0, 0, 0, :2].sum()))
    assert float(got[1, 2]) == pytest.approx(float(maps[1, 2].sum()))
    assert float(got[0, 1]) == 0.0


def test_mean_and_spread_are_of_the_cells_in_the_mask() -> None:
    maps, mask = torch.rand(1, 2, 3, 2, 3), torch.zeros(1, 2, 3, 2, 3, dtype=torch.bool)
    mask[0, 0, 1] = True
    mean, spread = mean_and_spread(maps, mask)
    assert float(mean[0, 0]) == pytest.approx(float(maps[0, 0, 1].mean()))
    assert float(spread[0, 0]) == pytest.approx(float(maps[0, 0, 1].std(correction=0)))
    assert (float(mean[0, 1]), float(spread[0, 1])) == (0.0, 0.0)


def test_inside_over_outside_does_not_grow_with_attention_everywhere() -> None:
    mask = torch.zeros(1, 4, 3, 2, 3, dtype=torch.bool)
    mask[:, :2, 0, 0] = True
    mask[:, 3] = True
    even = torch.full((3, 2, 3), 0.01)
    maps = torch.stack([even * (1 + 4 * mask[0, 0]), even * 20, even, even])[None]
    assert inside_over_outside(maps, mask)[0].tolist() == pytest.approx([5.0, 1.0, 1.0, 1.0])
    torch.testing.assert_close(inside_over_outside(maps * 7, mask), inside_over_outside(maps, mask))


def test_the_correlation_has_its_sign_and_says_where_it_is_undefined() -> None:
    mask = torch.zeros(1, 4, 3, 2, 3, dtype=torch.bool)
    mask[:, :3, :, 0] = True
    maps = torch.stack([mask[0, 0] * 2.0 + 1.0, -1e-6 * mask[0, 1], torch.full((3, 2, 3), 0.1), torch.rand(3, 2, 3)])
    values, defined = map_mask_correlation(maps[None], mask)
    assert values[0].tolist() == pytest.approx([1.0, -1.0, 0.0, 0.0])
    assert defined[0].tolist() == [True, True, False, False]
