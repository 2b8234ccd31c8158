"""MATRIX in miniature from end to end, at a size that says nothing of any result."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.miniature.__main__ import main
from benchmarks.miniature.scenes import Film, asked


@pytest.mark.parametrize("number", range(3))
def test_the_words_alone_say_who_does_it(number: int) -> None:
    one, other = (asked(7, number, turn, Film(5, 48, 72, 2)) for turn in (0, 1))
    mine, others = list(one.scene.frames()), list(other.scene.frames())
    for seen, other_seen in zip(mine[0], others[0], strict=True):
        assert np.array_equal(seen, other_seen)  # picture and masks
    assert not np.array_equal(mine[-1][0], others[-1][0])
    assert one.scene.ids == other.scene.ids
    assert (one.right, one.wrong) == (other.wrong, other.right)


def test_all_stages_and_what_is_there_is_not_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--folder", str(tmp_path), "--size", "smoke", "--seeds", "1"]
    main(command)
    said = capsys.readouterr().out
    assert "+ both, seed 0: 6 videos made, 0 were there" in said
    assert "base, seed 0: 0 videos made, 6 were there" in said  # those of the look
    assert (tmp_path / "smoke" / "seed0" / "arms.png").exists()
    main([*command, "--stage", "arms"])
    assert "trained" not in capsys.readouterr().out
