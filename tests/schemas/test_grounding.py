"""Boxes."""

import pytest

from schemas import Box


def test_iou_by_hand():
    box = Box(x0=0, y0=0, x1=8, y1=8)
    assert box.iou(box) == 1
    assert box.iou(Box(x0=4, y0=0, x1=12, y1=8)) == pytest.approx(1 / 3)
    for beside in (Box(x0=8, y0=0, x1=16, y1=8), Box(x0=9, y0=9, x1=12, y1=12)):
        assert box.iou(beside) == beside.iou(box) == 0
