"""MATRIX in miniature from end to end, at a size that says nothing of any result; and its comparison, as planted."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.miniature.__main__ import STAGES, main
from benchmarks.miniature.compared import PAPER, difference
from benchmarks.miniature.judge import PAIRS, RIGHT, WRONG, Verdict, Verdicts, file_of, verdicts
from benchmarks.miniature.sample import asked_table, videos_of
from benchmarks.miniature.scenes import Film, asked
from matrix_train.evaluate.protocol.scores import QUESTIONS, YES, Answer, FrameCheck


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
    command = ["--folder", str(tmp_path), "--size", "smoke", "--seeds", "0"]
    for stage in STAGES[:-1]:
        main([*command, "--stage", stage])
    said = capsys.readouterr().out
    assert "+ both, seed 0: 2 videos made, 0 were there" in said
    assert "base, seed 0: 0 videos made, 2 were there" in said  # those of the look
    folder = tmp_path / "smoke"
    assert (folder / "seed0" / "arms.png").exists()
    true = Verdicts.model_validate_json((folder / "judged" / "true.json").read_bytes())
    assert list(true.videos) == list(asked_table(folder))
    assert not any(one.turned for one in true.videos.values())
    main([*command, "--stage", "arms"])
    assert "trained" not in capsys.readouterr().out

    # What comes out of arms that are each right once more than the one before, as the paper has it.
    # Of the second seed there is no more than the judge's files, as where it was made on another machine.
    shutil.copytree(folder / "judged" / "seed0", folder / "judged" / "seed1")
    for rank, arm in enumerate(PAPER):
        plant(folder, arm, true.judge, rights=min(rank, 4))
    main([*command, "1", "--stage", "report"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found == json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert found["means"]["+ SGA"]["right"] == [1.0, 1.0]
    assert found["means"]["+ SPA"]["turned"] == [0.0, 1.0]
    gain = found["differences"]["+ both"]["right"]
    assert (gain["mean"], gain["each"]) == (0.75, [0.5, 1.0])
    assert found["orders"]["right"] == {"arms": list(PAPER), "tau": pytest.approx(0.966, abs=1e-3)}  # of two alike
    assert found["judge"]["right"] == sum(one.right for one in true.videos.values())
    page = (folder / "report.html").read_text(encoding="utf-8")
    for link in ("videos/seed0/--both/", "sheets/seed0/", "differences.png"):
        assert f'"{link}' in page
        assert (folder / link).exists()
    assert "seed1/" not in page

    # Videos that were made anew are judged anew, those that are not here are not; judges are not mixed.
    own = file_of(folder, 0, PAPER[0])
    assert Verdicts.model_validate_json(own.read_bytes()).made_of is None, "as of an older version"
    main([*command, "1", "--stage", "judge", "--arms", PAPER[0]])
    first = Verdicts.model_validate_json(own.read_bytes())
    assert first.made_of and first.judge == true.judge
    assert Verdicts.model_validate_json(file_of(folder, 1, PAPER[0]).read_bytes()).made_of is None
    judged = own.stat().st_mtime_ns
    main([*command, "--stage", "judge", "--arms", PAPER[0]])
    assert own.stat().st_mtime_ns == judged
    video = f"{next(iter(true.videos))}.mp4"
    shutil.copy(folder / "asked" / "videos" / video, videos_of(folder, 0, PAPER[0]) / video)
    main([*command, "--stage", "judge", "--arms", PAPER[0]])
    assert Verdicts.model_validate_json(own.read_bytes()).made_of != first.made_of
    plant(folder, PAPER[0], "tracks 0", rights=0)
    with pytest.raises(
        SystemExit, match=r"judged/true\.json is by 'tracks \d+ .*', judged/seed0/base\.json by 'tracks 0'"
    ):
        main([*command, "1", "--stage", "report"])


def plant(folder: Path, arm: str, judge: str, rights: int) -> None:
    """Verdicts of two seeds, of which so many are right, the first ones; the others are turned."""
    names = list(asked_table(folder))
    for seed in (0, 1):
        done = [RIGHT if seed * len(names) + k < rights else WRONG for k in range(len(names))]
        found = Verdicts(judge=judge, videos=dict(zip(names, map(verdict, done), strict=True)))
        file_of(folder, seed, arm).write_text(found.model_dump_json(), encoding="utf-8")
        assert verdicts(folder, seed, arm) == found.videos


def verdict(who: str) -> Verdict:
    """Of a video in which this pair does it."""
    answers = {
        pair: tuple(
            Answer(question_id=q, answer=YES if q < 7 or pair == who else "no", frame_index=0) for q in QUESTIONS
        )
        for pair in PAIRS
    }
    return Verdict(answers=answers, checks=(FrameCheck(frame_idx=4, emergence=False, disappearance=False),))


def test_a_video_is_right_where_the_pair_asked_for_does_it_alone() -> None:
    right, turned = verdict(RIGHT), verdict(WRONG)
    assert (right.right, right.turned, right.word) == (True, False, "right")
    assert (turned.right, turned.turned, turned.word) == (False, True, "turned")
    assert right.scores is not None
    assert turned.scores is not None
    assert (right.scores.if_score, turned.scores.if_score) == (1.0, 0.5)
    both = Verdict(answers=right.answers | {WRONG: right.answers[RIGHT]}, checks=right.checks)
    assert (both.right, both.turned, both.word) == (False, False, "neither")
    unknown = Verdict(answers={}, undecided="a tie")
    assert (unknown.right, unknown.turned, unknown.scores, unknown.word) == (False, False, None, "undecided")


def test_a_difference_is_of_pairs_that_both_have_and_its_interval_of_whole_pictures() -> None:
    """Two pictures, one of them with a gain of 1 in all its pairs but a lost one: a draw of two is at 0, ½ or 1."""
    alone = np.zeros((2, 2, 2))
    arm = np.array([[[1, 1], [0, 0]], [[1, np.nan], [0, 0]]])
    found = difference(arm, alone)
    assert found.mean == pytest.approx(3 / 7)
    assert found.each == pytest.approx((1 / 2, 1 / 3))
    assert (found.low, found.high, found.clear) == (0.0, 1.0, False)
    # The same gain in all pictures is no matter of which are drawn.
    every = difference(np.ones((2, 2, 2)), alone)
    assert (every.low, every.mean, every.high, every.clear) == (1.0, 1.0, 1.0, True)
