"""Role maps against the dense float64 reference: values, gradients, checkpointing, memory."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint

from matrix_train.attention import lse
from matrix_train.attention import maps as module
from matrix_train.attention.lse import attention_with_lse, has_lse
from matrix_train.attention.maps import Layout, Taps, attend
from matrix_train.attention.roles import RoleWeights
from tests.matrix_train.reference import VARIANTS, LargestTensor, dense_attend, make_roles, relative_error, two_samples

HEADS, LENGTH, CELLS, DIM = 3, 11, 120, 16

BARS = {torch.float64: 1e-7, torch.float32: 1e-5, torch.bfloat16: 1e-2}
"""Relative error. In float64 what is left is the role weights: 1/3 is kept in float32."""


def inputs(dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (2, HEADS, LENGTH + CELLS, DIM)
    q, k, v = (torch.randn(shape, generator=generator, dtype=torch.float64).mul(1.5).to(dtype) for _ in range(3))
    return q, k, v


def pull(out: Tensor, maps: Tensor, leaves: tuple[Tensor, ...], with_out: bool = True) -> tuple[Tensor, ...]:
    """Gradients of a fixed random functional of the maps, and of the output as well so that both flows must add up."""
    generator = torch.Generator().manual_seed(9)
    along_out = torch.randn(out.shape, generator=generator, dtype=torch.float64)
    along_maps = torch.randn(maps.shape, generator=generator, dtype=torch.float64) * 100
    value = (maps.double() * along_maps).sum() + (out.double() * along_out).sum() * float(with_out)
    return torch.autograd.grad(value, leaves)


@pytest.mark.parametrize("dtype", list(BARS), ids=str)
@pytest.mark.parametrize(("mode", "direction", "kernel"), VARIANTS)
def test_values_and_gradients_match_the_dense_reference(dtype, mode, direction, kernel) -> None:
    text, video = two_samples(LENGTH, CELLS)
    leaves = tuple(x.requires_grad_() for x in inputs(dtype))
    exact = tuple(x.detach().double().requires_grad_() for x in leaves)
    out, maps = attend(*leaves, Taps(RoleWeights.build(text, video), (direction,), mode, kernel))
    want_out, want_maps = dense_attend(*exact, text.double(), video.double(), direction, mode)
    bar = BARS[dtype]
    assert relative_error(maps[direction], want_maps) <= bar
    assert relative_error(out, want_out) <= bar
    got, want = pull(out, maps[direction], leaves), pull(want_out, want_maps, exact)
    assert [relative_error(a, b) <= bar for a, b in zip(got, want, strict=True)] == [True] * 3
    # The map's own gradient alone: the output's must not hide an error in it.
    out, maps = attend(*leaves, Taps(RoleWeights.build(text, video), (direction,), mode, kernel))
    want_out, want_maps = dense_attend(*exact, text.double(), video.double(), direction, mode)
    got, want = pull(out, maps[direction], leaves, False)[:2], pull(want_out, want_maps, exact, False)[:2]
    assert [relative_error(a, b) <= bar for a, b in zip(got, want, strict=True)] == [True] * 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("mode", "direction", "kernel"), VARIANTS)
def test_checkpointed_equals_not_checkpointed(dtype, mode, direction, kernel) -> None:
    leaves = tuple(x.requires_grad_() for x in inputs(dtype))
    taps = Taps(make_roles(LENGTH, CELLS), (direction,), mode, kernel)
    kept: dict[str, Tensor] = {}

    def block(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out, maps = attend(q, k, v, taps)
        kept.setdefault("map", maps[direction])
        return out

    plain_out, plain_maps = attend(*leaves, taps)
    out = checkpoint(block, *leaves, use_reentrant=False)
    assert torch.equal(out, plain_out)
    assert torch.equal(kept["map"], plain_maps[direction])
    for got, want in zip(pull(out, kept["map"], leaves), pull(plain_out, plain_maps[direction], leaves), strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_without_taps_the_output_is_plain_attention_bit_for_bit(dtype) -> None:
    q, k, v = inputs(dtype)
    out, maps = attend(q, k, v, None)
    assert torch.equal(out, F.scaled_dot_product_attention(q, k, v))
    assert maps == {}


@pytest.mark.parametrize(("mode", "direction", "kernel"), [v for v in VARIANTS if v[2] != "columns"])
def test_taps_leave_the_output_as_it_is(mode, direction, kernel) -> None:
    q, k, v = inputs(torch.float32)
    out, _ = attend(q, k, v, Taps(make_roles(LENGTH, CELLS), (direction,), mode, kernel))
    assert torch.equal(out, F.scaled_dot_product_attention(q, k, v))


def test_one_layer_can_serve_every_direction() -> None:
    q, k, v = inputs(torch.float32)
    roles = make_roles(LENGTH, CELLS)
    for mode in ("logits", "centred", "softmax"):
        _, together = attend(q, k, v, Taps(roles, ("v2v", "v2t", "t2v"), mode))
        for direction in ("v2t", "v2v", "t2v"):
            _, alone = attend(q, k, v, Taps(roles, (direction,), mode))
            assert torch.equal(together[direction], alone[direction])


@pytest.mark.parametrize("direction", ["v2t", "v2v", "t2v"])
def test_what_all_keys_share_moves_attention_and_centred_maps_alike_not_at_all(direction) -> None:
    """The scaled products see it: a v2t map of theirs can be anything while attention stays as it is."""
    q, k, v = inputs(torch.float64)
    shared = torch.randn(2, HEADS, 1, DIM, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    roles = make_roles(LENGTH, CELLS)
    for mode in ("centred", "softmax"):
        _, before = attend(q, k, v, Taps(roles, (direction,), mode))
        _, after = attend(q, k + shared, v, Taps(roles, (direction,), mode))
        torch.testing.assert_close(after[direction], before[direction], rtol=1e-5, atol=1e-6)
    _, before = attend(q, k, v, Taps(roles, (direction,), "logits"))
    _, after = attend(q, k + shared, v, Taps(roles, (direction,), "logits"))
    assert (after[direction] - before[direction]).abs().max() > 0.1


@pytest.mark.parametrize(("mode", "direction", "kernel"), VARIANTS)
def test_samples_do_not_see_each_other(mode, direction, kernel) -> None:
    q, k, v = inputs(torch.float64)
    text, video = two_samples(LENGTH, CELLS)
    _, both = attend(q, k, v, Taps(RoleWeights.build(text, video), (direction,), mode, kernel))
    for i in (0, 1):
        one = slice(i, i + 1)
        _, alone = attend(
            q[one], k[one], v[one], Taps(RoleWeights.build(text[one], video[one]), (direction,), mode, kernel)
        )
        torch.testing.assert_close(alone[direction], both[direction][one], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("mode", "direction", "kernel"), VARIANTS)
def test_an_absent_role_is_exactly_zero_in_value_and_gradient(mode, direction, kernel) -> None:
    leaves = tuple(x.requires_grad_() for x in inputs(torch.float32))
    text, video = two_samples(LENGTH, CELLS)
    text[:, 1], video[:, 1] = 0.0, 0.0
    _, maps = attend(*leaves, Taps(RoleWeights.build(text, video), (direction,), mode, kernel))
    absent = maps[direction][:, 1]
    assert not absent.any()
    grads = torch.autograd.grad((absent * 1e6).sum(), leaves, allow_unused=True)
    assert all(grad is None or not grad.any() for grad in grads)


def test_rows_and_heads_in_chunks_give_the_same_map(monkeypatch) -> None:
    leaves = tuple(x.requires_grad_() for x in inputs(torch.float64))
    roles = make_roles(LENGTH, CELLS)
    results = []
    for chunk in (2**23, 2 * 131 * 5, 1):
        monkeypatch.setattr(module, "CHUNK_ELEMENTS", chunk)
        monkeypatch.setattr(lse, "BACKWARD_CHUNK_ELEMENTS", chunk)
        out, maps = attend(*leaves, Taps(roles, ("v2t", "v2v"), "softmax"))
        results.append((*maps.values(), *pull(out, maps["v2t"] + maps["v2v"], leaves)))
    for other in results[1:]:
        for got, want in zip(other, results[0], strict=True):
            torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(("mode", "direction", "kernel"), VARIANTS)
def test_no_tensor_comes_near_n_squared(mode, direction, kernel) -> None:
    length, cells, dim = 16, 2032, 8
    n = length + cells
    generator = torch.Generator().manual_seed(0)
    leaves = tuple(torch.randn(2, 2, n, dim, generator=generator).requires_grad_() for _ in range(3))
    text, video = torch.zeros(2, 3, length), torch.zeros(2, 3, cells)
    text[:, :, :4], video[:, :, :300] = 1 / 4, 1 / 300
    roles = RoleWeights.build(text, video)
    with LargestTensor() as largest:
        out, maps = attend(*leaves, Taps(roles, (direction,), mode, kernel))
        (out.sum() + maps[direction].square().sum()).backward()
    assert 0 < largest.elements < n * n / 8, largest.shape


def test_autocast_sees_what_attention_sees() -> None:
    q, k, v = inputs(torch.float32)
    roles = make_roles(LENGTH, CELLS)
    half = tuple(x.bfloat16() for x in (q, k, v))
    for mode in ("logits", "centred", "softmax"):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out, maps = attend(q, k, v, Taps(roles, ("v2t", "v2v"), mode))
            plain = F.scaled_dot_product_attention(q, k, v)
        want_out, want_maps = attend(*half, Taps(roles, ("v2t", "v2v"), mode))
        assert torch.equal(out, plain)
        assert torch.equal(out, want_out)
        assert all(torch.equal(maps[d], want_maps[d]) for d in maps)
        assert maps["v2t"].dtype == torch.float32


def test_roles_for_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"roles cover 11 \+ 7 tokens, there are 131 queries"):
        attend(*inputs(torch.float32), Taps(RoleWeights.build(torch.zeros(2, 3, 11), torch.zeros(2, 3, 7)), ("v2t",)))


def test_lse_has_its_gradient() -> None:
    q, k, v = (x[:, :1, :20].contiguous().requires_grad_() for x in inputs(torch.float64))
    assert has_lse(q)
    assert torch.autograd.gradcheck(attention_with_lse, (q, k, v))


def test_detaching_lse_would_be_wrong() -> None:
    """The trap that the padded channel is for: without lse's gradient the query gradient points elsewhere."""
    q, k, _ = inputs(torch.float64)
    q.requires_grad_()
    text, video = two_samples(LENGTH, CELLS)
    _, maps = attend(q, k, k, Taps(RoleWeights.build(text, video), ("v2t",), "softmax", "lse"))
    (exact,) = torch.autograd.grad(maps["v2t"][0, 0].sum(), q)
    scores = torch.einsum("bhid,bhjd->bhij", q, k) / DIM**0.5
    detached = (scores - scores.logsumexp(-1, keepdim=True).detach()).exp()[:, :, LENGTH:, :LENGTH].mean(1)
    (wrong,) = torch.autograd.grad((detached[0] @ text[0, 0].double()).sum(), q)
    assert F.cosine_similarity(exact.flatten(), wrong.flatten(), dim=0) < 0.99


def test_the_cuda_kernels_take_these_arguments() -> None:
    """Forward and backward against the CUDA operators' signatures and shape rules, on tensors without data."""
    with FakeTensorMode():
        q, k, v = (torch.empty(2, 4, 100, 64, device="cuda", dtype=torch.bfloat16) for _ in range(3))
        context = SimpleNamespace(save_for_backward=lambda *saved: setattr(context, "saved_tensors", saved))
        out, row_lse = lse._AttentionWithLse.forward(context, q, k, v)
        assert (out.shape, out.dtype, row_lse.shape, row_lse.dtype) == (q.shape, q.dtype, (2, 4, 100), torch.float32)
        grads = lse._AttentionWithLse.backward(context, out, row_lse)
        assert [(grad.shape, grad.dtype) for grad in grads] == [(q.shape, q.dtype)] * 3


@pytest.mark.parametrize("mode", ["logits", "centred"])
def test_the_joint_width_s_scale_is_that_of_heads_times_their_root(mode) -> None:
    """q·k/√(H·d) over the joint width, taken at its word."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, 131, 16, generator=generator, dtype=torch.float64) for _ in range(3))
    roles = make_roles(11, 120)
    maps = attend(q, k, v, Taps(roles, ("v2t", "v2v"), mode, scale="joint"))[1]
    plain = attend(q, k, v, Taps(roles, ("v2t", "v2v"), mode))[1]
    for direction, values in maps.items():
        torch.testing.assert_close(values, plain[direction] * 3**0.5)
    if mode == "logits":
        joint_q, joint_k = (x.transpose(1, 2).flatten(2) for x in (q, k))
        products = joint_q @ joint_k.transpose(1, 2) / (3 * 16) ** 0.5
        weights = roles.text.dense(11).to(products)
        torch.testing.assert_close(maps["v2t"], weights @ products[:, 11:, :11].transpose(1, 2))


@pytest.mark.parametrize("kernel", ["lse", "columns"])
@pytest.mark.parametrize("mode", ["logits", "centred", "softmax"])
def test_cross_attention_has_the_maps_and_gradients_of_its_matrix(mode, kernel) -> None:
    """Video asks text, of another length, and the keys hold nothing else."""
    generator = torch.Generator().manual_seed(0)
    roles = make_roles(11, 120)
    q, k, v = (
        torch.randn(2, 3, n, 16, generator=generator, dtype=torch.float64).requires_grad_() for n in (120, 11, 11)
    )
    out, maps = attend(q, k, v, Taps(roles, ("v2t",), mode, kernel, layout=Layout.cross(11, 120)))
    matrix = q @ k.transpose(2, 3) / 4.0
    shown = {"logits": matrix, "centred": matrix - matrix.mean(-1, keepdim=True), "softmax": matrix.softmax(-1)}[mode]
    want = roles.text.dense(11).double() @ shown.mean(dim=1).transpose(1, 2)
    want_out = matrix.softmax(-1) @ v
    assert relative_error(out, want_out) < 1e-6
    assert relative_error(maps["v2t"], want) < 1e-6
    got = torch.autograd.grad(maps["v2t"].square().sum() + out.square().sum(), (q, k, v))
    exact = torch.autograd.grad(want.square().sum() + want_out.square().sum(), (q, k, v))
    assert all(relative_error(a, b) < 1e-6 for a, b in zip(got, exact, strict=True))


@pytest.mark.parametrize("mode", ["logits", "centred", "softmax"])
def test_video_alone_has_the_maps_of_its_matrix(mode) -> None:
    generator = torch.Generator().manual_seed(0)
    roles = make_roles(11, 120)
    q, k, v = (torch.randn(2, 3, 120, 16, generator=generator, dtype=torch.float64) for _ in range(3))
    _, maps = attend(q, k, v, Taps(roles, ("v2v",), mode, layout=Layout.alone(120)))
    matrix = q @ k.transpose(2, 3) / 4.0
    shown = {"logits": matrix, "centred": matrix - matrix.mean(-1, keepdim=True), "softmax": matrix.softmax(-1)}[mode]
    assert relative_error(maps["v2v"], roles.video.dense(120).double() @ shown.mean(dim=1)) < 1e-6


def test_a_map_of_what_an_attention_does_not_hold_is_refused() -> None:
    roles, q, text = make_roles(11, 120), torch.randn(2, 3, 120, 16), torch.randn(2, 3, 11, 16)
    with pytest.raises(ValueError, match="does not hold the text or video"):
        attend(q, text, text, Taps(roles, ("v2v",), layout=Layout.cross(11, 120)))
    with pytest.raises(ValueError, match="120 queries and 120 keys"):
        attend(q, q, q, Taps(roles, ("v2t",), layout=Layout.cross(11, 120)))
