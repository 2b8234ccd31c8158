"""From answers to KISA, SGI, SPI and IF, as the paper defines them (App. F). Pure: no video, no model, no file.

Ten answers an interaction: Q1–Q6 what happens, KISA_raw = yes / 6; Q7–Q10 who does it to whom, SGI_raw = yes / 4.
SPI = ½[(1 − λ·r_emerge) + (1 − λ·r_disappear)] over the frames that are held against frame 0, in (−λ + 1, 1].
KISA = KISA_raw·SPI, SGI = SGI_raw·SPI, IF = ½(KISA + SGI). Means go from interactions to the video to the model.

Nothing is scored on a guess: answers that are missing, doubled or about no question are a `NotTen`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated, Literal

from pydantic import Field, computed_field

from schemas.base import Count, Record, Share

YES: Literal["yes"] = "yes"
Said = Literal["yes", "no", "no (visually implausible)"]
"""What a judge may answer. An implausible decisive frame makes a no of whatever it shows."""

KISA_QUESTIONS = range(1, 7)
SGI_QUESTIONS = range(7, 11)
QUESTIONS = range(1, 11)
LAMBDA = 5.0
"""How hard a share of frames with an instance too many or too few counts (App. F)."""


class NotTen(ValueError):
    """The answers to an interaction are not one to each of its ten questions: to be asked again. Says which."""


class Answer(Record):
    """The answer to one question, from its decisive frame."""

    question_id: Annotated[int, Field(ge=1, le=10)]
    answer: Said
    frame_index: Count | None = Field(
        default=None, description="the decisive frame of the video; None where none decides: a no"
    )


class FrameCheck(Record):
    """A frame held against frame 0."""

    frame_idx: Count
    emergence: bool = Field(description="a listed class is there without a box that frame 0 did not have")
    disappearance: bool = Field(description="an instance of frame 0 is there no longer")
    emergence_reason: str = ""
    disappearance_reason: str = ""


class VideoScores(Record):
    """The scores of one video. `spi` may be negative, and what it weights with it."""

    kisa_raw: Share
    sgi_raw: Share
    spi: float = Field(le=1)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def kisa(self) -> float:
        return self.kisa_raw * self.spi

    @computed_field  # type: ignore[prop-decorator]
    @property
    def sgi(self) -> float:
        return self.sgi_raw * self.spi

    @computed_field(alias="if")  # type: ignore[prop-decorator]
    @property
    def if_score(self) -> float:
        return (self.kisa + self.sgi) / 2


SCORES = ("kisa", "sgi", "if_score", "kisa_raw", "sgi_raw", "spi")
"""The fields of `VideoScores`, in the order in which they are shown."""


def ten_of(answers: Sequence[Answer]) -> tuple[Answer, ...]:
    """The answers in the order of their questions. NotTen where they are not one to each of the ten."""
    asked = [answer.question_id for answer in answers]
    missing = [f"Q{q}" for q in QUESTIONS if q not in asked]
    double = [f"Q{q}" for q in QUESTIONS if asked.count(q) > 1]
    if missing or double:
        parts = [f"no answer to {', '.join(missing)}"] if missing else []
        parts += [f"several to {', '.join(double)}"] if double else []
        raise NotTen("; ".join(parts))
    return tuple(sorted(answers, key=lambda answer: answer.question_id))


def raw_scores(answers: Sequence[Answer]) -> tuple[float, float]:
    """(KISA_raw, SGI_raw) of one interaction. NotTen."""
    yes = {answer.question_id: answer.answer == YES for answer in ten_of(answers)}
    return fmean(yes[q] for q in KISA_QUESTIONS), fmean(yes[q] for q in SGI_QUESTIONS)


def spi(frames: Sequence[FrameCheck], weight: float = LAMBDA) -> float:
    """SPI over the frames after frame 0 that were looked at. ValueError where there is none: nothing was compared."""
    if not frames:
        raise ValueError("no frame was held against frame 0")
    emerge, disappear = (fmean(flags) for flags in zip(*((f.emergence, f.disappearance) for f in frames), strict=True))
    return ((1 - weight * emerge) + (1 - weight * disappear)) / 2


def video_scores(interactions: Sequence[Sequence[Answer]], frames: Sequence[FrameCheck]) -> VideoScores:
    """The scores of a video: the means of its interactions', and its SPI. NotTen; ValueError for no interaction."""
    if not interactions:
        raise ValueError("a video without an interaction has no score")
    kisa, sgi = zip(*(raw_scores(answers) for answers in interactions), strict=True)
    return VideoScores(kisa_raw=fmean(kisa), sgi_raw=fmean(sgi), spi=spi(frames))


@dataclass(frozen=True)
class Judged:
    """One video."""

    answers: tuple[tuple[Answer, ...], ...]
    """Ten a key interaction, in the prompt's order."""
    checks: tuple[FrameCheck, ...]

    @property
    def scores(self) -> VideoScores:
        return video_scores(self.answers, self.checks)
