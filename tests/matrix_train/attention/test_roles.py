"""Token and cell weights of roles."""

import pytest
import torch

from matrix_train.attention.roles import RoleWeights, Rows, covered_cells, query_weights, role_masks, token_weights
from tests.matrix_train.reference import two_samples


def test_rows_hold_exactly_the_dense_weights() -> None:
    text, video = two_samples(11, 40)
    for weights in (text, video):
        assert torch.equal(Rows.build(weights).dense(weights.shape[-1]), weights)
    assert Rows.build(text).index.tolist() == [[1, 2, 4, 6, 7, 8], [0, 9, 0, 0, 0, 0]]
    assert Rows.build(text).present.tolist() == [[True, True, True], [True, False, True]]


def test_a_batch_without_any_role_still_has_a_row() -> None:
    rows = Rows.build(torch.zeros(2, 3, 5))
    assert rows.index.shape == (2, 1)
    assert not rows.present.any()


@pytest.mark.parametrize("bad", [[0.5, 0.4], [1.5, -0.5], [2.0, 0.0]])
def test_weights_that_are_no_mean_are_refused(bad) -> None:
    with pytest.raises(ValueError, match="text weights"):
        RoleWeights.build(torch.tensor([[bad]]), torch.zeros(1, 1, 4))


def test_token_weights_average_each_role() -> None:
    weights = token_weights([(1, 3), (), (0,)], 4)
    assert weights.tolist() == [[0, 0.5, 0, 0.5], [0, 0, 0, 0], [1, 0, 0, 0]]


def test_queries_are_the_covered_cells_of_the_first_latent_frame() -> None:
    masks = torch.zeros(1, 4, 32, 48)
    masks[0, 0, :16, :32] = 1  # two whole cells
    masks[0, 1, 16:24, :16] = 1  # exactly half a cell counts
    masks[0, 2, 20:22, 40:43] = 1  # less than half of its only cell
    weights = query_weights(masks, frames=3, height=2, width=3)
    assert weights.shape == (1, 4, 18)
    assert weights[0, 0].nonzero().flatten().tolist() == [0, 1]
    assert weights[0, 0, 0] == 0.5
    assert weights[0, 1].nonzero().flatten().tolist() == [3]
    assert weights[0, 2].nonzero().flatten().tolist() == [5]
    assert not weights[0, 3].any()


def test_small_parts_of_a_large_mask_do_not_count() -> None:
    mask = torch.zeros(1, 1, 32, 48)
    mask[..., :16, :20] = 1  # one whole cell and a quarter of the next
    assert covered_cells(mask, 2, 3).flatten().tolist() == [True, False, False, False, False, False]


def test_role_masks_are_block_means_and_the_verb_is_the_union() -> None:
    masks = torch.zeros(1, 3, 9, 32, 48, dtype=torch.uint8)
    masks[:, 0, :, :16, :16] = 1
    masks[:, 1, 2:, 8:24, 10:40] = 1
    whole = role_masks(masks, torch.tensor([[[0, 1], [2, 0], [-1, -1]]]), 1)
    assert whole.shape == (1, 9, 9, 32, 48)
    assert torch.equal(whole[:, :3], torch.stack([masks[:, 0], masks[:, 0] | masks[:, 1], masks[:, 1]], dim=1))
    assert torch.equal(whole[:, 3:6], torch.stack([masks[:, 2], masks[:, 0], masks[:, 0]], dim=1))
    assert not whole[:, 6:].any()
    assert whole.dtype == torch.uint8
    coarse = role_masks(masks, torch.tensor([[[0, 1]]]), 8)
    assert coarse.shape == (1, 3, 9, 4, 6)
    assert coarse[0, 2, 3, 1, 1] == 0.75  # columns 10 to 15 of the block 8 to 15
    blocks = whole[:, :3].float().unflatten(-1, (6, 8)).unflatten(-3, (4, 8))
    assert torch.equal(coarse, blocks.mean(dim=(-1, -3)))
