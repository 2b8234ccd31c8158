"""J, F and J&F on cases small enough to count by hand."""

import numpy as np
import pytest

from tasks.world.score.davis import boundary_f, j_and_f, region_iou


def box(size: tuple[int, int], y0: int, x0: int, y1: int, x1: int) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


EMPTY, FULL = np.zeros((30, 40), bool), np.ones((30, 40), bool)
SQUARE = box((30, 40), 10, 10, 20, 20)


def test_region_iou_by_hand() -> None:
    # 10 x 10 moved by 5: 50 shared of 150.
    assert region_iou(SQUARE, box((30, 40), 10, 15, 20, 25)) == pytest.approx(1 / 3)
    # 4 x 4 inside 10 x 10: 16 of 100.
    assert region_iou(SQUARE, box((30, 40), 12, 12, 16, 16)) == pytest.approx(0.16)
    assert region_iou(SQUARE, box((30, 40), 20, 20, 30, 30)) == 0.0


@pytest.mark.parametrize("measure", [region_iou, boundary_f, j_and_f])
def test_ends_of_the_scale(measure) -> None:
    assert measure(SQUARE, SQUARE) == 1.0
    assert measure(EMPTY, EMPTY) == 1.0
    assert measure(FULL, FULL) == 1.0
    assert measure(SQUARE, EMPTY) == 0.0
    assert measure(EMPTY, SQUARE) == 0.0


def test_boundary_reach_is_a_disk_of_the_rounded_up_share_of_the_diagonal() -> None:
    # The diagonal of 30 x 40 is 50 pixels: 0.008 of it is 0.4, rounded up to 1.
    assert boundary_f(SQUARE, box((30, 40), 10, 11, 20, 21)) == 1.0
    # Moved by 2 along x. The boundary of rows 10..19, columns 10..19 is the ring of the square on rows 9..19 and
    # columns 9..19: 40 pixels. The moved ring is 2 to the right. Within 1 pixel of it lie, of the 11 pixels of row 9,
    # columns 10..19 (10 pixels), the same on row 19 (10); of the upright sides nothing but what is near those rows:
    # column 9 has none, column 19 is 2 away from 21 but rows 10 and 18 touch rows 9 and 19: 2 pixels.
    moved = box((30, 40), 10, 12, 20, 22)
    precision = (10 + 10 + 2) / 40
    assert boundary_f(SQUARE, moved) == pytest.approx(precision)  # recall is the same by symmetry


def test_precision_and_recall_differ_when_only_a_part_is_found() -> None:
    # Two squares are true, one is found: every found boundary pixel is right, half of the true ones are found.
    true = SQUARE | box((30, 40), 10, 25, 20, 35)
    assert boundary_f(SQUARE, true) == pytest.approx(2 * 1.0 * 0.5 / 1.5)
    assert j_and_f(SQUARE, true) == pytest.approx((0.5 + 2 / 3) / 2)


def test_diagonal_step_is_outside_a_disk_of_one() -> None:
    # Single pixels: the boundary of pixel (y, x) is the 2 x 2 block that ends in it. Moved by (2, 2) the blocks meet at
    # distance sqrt(2) in one corner: no match within 1, one of four pixels within sqrt(2) < 2.
    one, other = box((30, 40), 10, 10, 11, 11), box((30, 40), 12, 12, 13, 13)
    assert boundary_f(one, other) == 0.0
    assert boundary_f(one, other, tolerance=2 / 50) == pytest.approx(1 / 4)


def test_the_window_changes_nothing() -> None:
    rng = np.random.default_rng(7)
    for _ in range(20):
        y, x = rng.integers(0, 20, 2)
        small_a, small_b = rng.random((8, 8)) > 0.4, rng.random((8, 8)) > 0.4
        a, b = np.zeros((2, 30, 40), bool)
        a[y : y + 8, x : x + 8], b[y : y + 8, x : x + 8] = small_a, small_b
        assert boundary_f(a, b, 0.03) == pytest.approx(_slow_f(a, b, 2))


def _slow_f(pred: np.ndarray, true: np.ndarray, radius: int) -> float:
    """Pixel by pixel, straight from the definition."""

    def edge(m: np.ndarray) -> list[tuple[int, int]]:
        h, w = m.shape
        steps = ((0, 1), (1, 0), (1, 1))
        return [
            (y, x)
            for y in range(h)
            for x in range(w)
            if any(y + dy < h and x + dx < w and m[y, x] != m[y + dy, x + dx] for dy, dx in steps)
        ]

    ours, theirs = edge(pred), edge(true)

    def share(a: list[tuple[int, int]], b: list[tuple[int, int]]) -> float:
        return sum(any((y - v) ** 2 + (x - u) ** 2 <= radius**2 for v, u in b) for y, x in a) / len(a)

    precision, recall = share(ours, theirs), share(theirs, ours)
    return 2 * precision * recall / (precision + recall)


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match="one size"):
        region_iou(SQUARE, np.zeros((40, 30), bool))
