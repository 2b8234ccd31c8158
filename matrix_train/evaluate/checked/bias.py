"""How far a yes/no judge can be believed: its rate of yes to questions whose answer is known.

Judges of images say yes too easily. What is known of a question q: f_q, how often the judge says yes where no is right,
and t_q, how often where yes is. The share p of right yes then follows from the share o that it said, since
o = p·t_q + (1 − p)·f_q (Rogan and Gladen, "Estimating prevalence from the results of a screening test", 1978), so every
answer a in {0, 1} counts as (a − f_q) / (t_q − f_q). One video's corrected score may lie outside of [0, 1]; the mean
over videos is what is meant.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from matrix_train.evaluate.checked.faults import FAULTS, Edit, NoRoom, seen
from matrix_train.evaluate.judge.by_truth import judge
from matrix_train.evaluate.protocol.scores import (
    KISA_QUESTIONS,
    QUESTIONS,
    SGI_QUESTIONS,
    YES,
    Answer,
    FrameCheck,
    Judged,
)
from schemas.base import Count, Record
from schemas.truth import TrueTriplet, VideoTruth

BAR = 0.3
"""From this rate of yes to false questions on, a judge is warned of."""


class Known(Record):
    """What a judge said where the answer was known: to one of the ten questions, or of frames held against frame 0."""

    false_asked: Count = 0
    yes_to_false: Count = 0
    true_asked: Count = 0
    yes_to_true: Count = 0

    @property
    def false_rate(self) -> float | None:
        """f_q; None where it was never asked with no for an answer."""
        return self.yes_to_false / self.false_asked if self.false_asked else None

    @property
    def true_rate(self) -> float | None:
        """t_q."""
        return self.yes_to_true / self.true_asked if self.true_asked else None


Bias = dict[int, Known]
"""By question, all ten."""

CHECKS = ("emergence", "disappearance")

Answers = Sequence[Sequence[Answer]]
"""To the questions that are counted, of each key interaction."""


@dataclass(frozen=True)
class Plant:
    """Questions whose answers are known: what is asked for, what is seen, and whether a still picture is shown."""

    name: str
    asked: VideoTruth
    seen: VideoTruth
    still: bool = False
    edit: Edit | None = None
    """What of the pictures is otherwise than in the true video (`painting.py`)."""
    counted: frozenset[int] = frozenset(QUESTIONS)
    """The questions whose answers count."""
    checked: bool = False
    """Whether it is also asked what emerges and disappears."""

    def known(self) -> Judged:
        return judge(self.asked, self.seen)

    def of(self, answers: Answers) -> tuple[tuple[Answer, ...], ...]:
        """Those that count."""
        return tuple(tuple(a for a in ten if a.question_id in self.counted) for ten in answers)


def plants(truth: VideoTruth) -> list[Plant]:
    """Of one true video: itself; the same questions with the roles exchanged; about another of the agent's or the
    recipient's class, who is in the first frame and takes no part; and its first frame as a still picture.

    The still is left out where an act goes on in frame 0 already, which a single frame may show.
    """
    found = [Plant("true", truth, truth, checked=True)]
    turned = [t.model_copy(update={"subject": t.object, "object": t.subject}) for t in truth.triplets]
    found.append(Plant("exchanged", _asking(truth, turned), truth))
    acting = {key for t in truth.triplets for key in (t.subject, t.object)}
    classes = {i.id: i.cls for i in truth.instances}
    idle = [i.id for i in truth.instances if i.id not in acting and i.masks[0] is not None]
    for part in ("subject", "object"):
        one = getattr(truth.triplets[0], part)
        other = next((key for key in idle if classes[key] == classes[one]), None)
        if other is not None:
            instead = [t.model_copy(update={part: other}) for t in truth.triplets if getattr(t, part) == one]
            found.append(Plant(f"another_{part}", _asking(truth, instead), truth))
    if all(t.start_frame for t in truth.triplets):
        found.append(Plant("still", truth, FAULTS["static"].plant(truth), still=True))
    return found


PAINTED = ("no_contact", "no_effect", "wrong_one", "vanishes", "doubles", "drifts")
"""The faults that are painted. `swapped` and `static` are what `plants` asks: the roles exchanged, and a still."""


def painted_plants(truth: VideoTruth) -> list[Plant]:
    """The faults for which the true video has room, asked about as it is. None of a video with a cut.

    Who did it, in a push without contact, is a matter of taste: of the ten questions those count to which the fault
    turns a yes into a no. Of one who vanishes, doubles or becomes another it is asked what emerges and disappears.
    """
    if any(t.repeats for t in truth.triplets):
        return []
    found, before = [], _yes(judge(truth, truth))
    for name in PAINTED:
        try:
            edit = FAULTS[name].edit(truth)
        except NoRoom:
            continue
        spoiled, checked = seen(truth, edit), FAULTS[name].lowers == {"spi"}
        counted = frozenset() if checked else before - _yes(judge(truth, spoiled))
        if counted or checked:
            found.append(Plant(name, truth, spoiled, edit=edit, counted=counted, checked=checked))
    return found


def _yes(judged: Judged) -> frozenset[int]:
    """The questions with a yes for the first interaction, which is what a fault spoils."""
    return frozenset(a.question_id for a in judged.answers[0] if a.answer == YES)


def _asking(truth: VideoTruth, triplets: Sequence[TrueTriplet]) -> VideoTruth:
    """What would have been asked for: its prompt says so too."""
    names = {i.id: i.phrase for i in truth.instances}
    words = "; ".join(f"{names[t.subject]} {t.verb} {names[t.object]}" for t in triplets)
    return truth.model_copy(update={"triplets": tuple(triplets), "caption": words})


def measure(pairs: Iterable[tuple[Answers, Answers]]) -> Bias:
    """pairs: what is known and what the judge said, of the same questions."""
    counts = {q: _Count() for q in QUESTIONS}
    for known, said in pairs:
        for right, told in zip(known, said, strict=True):
            for a, b in zip(right, told, strict=True):
                counts[a.question_id].add(a.answer == YES, b.answer == YES)
    return {q: count.known() for q, count in counts.items()}


def measure_checks(pairs: Iterable[tuple[Sequence[FrameCheck], Sequence[FrameCheck]]]) -> dict[str, Known]:
    """Likewise of what emerged and what disappeared, frame by frame."""
    counts = {name: _Count() for name in CHECKS}
    for known, said in pairs:
        for right, told in zip(known, said, strict=True):
            for name, count in counts.items():
                count.add(getattr(right, name), getattr(told, name))
    return {name: count.known() for name, count in counts.items()}


class _Count:
    """Of the four kinds of question and answer: no and yes to what is false, no and yes to what is so."""

    def __init__(self) -> None:
        self.table = [[0, 0], [0, 0]]

    def add(self, right: bool, said: bool) -> None:
        self.table[right][said] += 1

    def known(self) -> Known:
        false, true = self.table
        return Known(false_asked=sum(false), yes_to_false=false[1], true_asked=sum(true), yes_to_true=true[1])


def warnings(bias: Bias, checks: Mapping[str, Known]) -> list[str]:
    """A line for each question to which the judge says yes too easily, for those that were never planted, and for
    those on which it is of no use; likewise for what emerges and disappears."""
    lines = []
    for name, known in [*((f"Q{q}", known) for q, known in bias.items()), *checks.items()]:
        if (rate := known.false_rate) is None:
            lines.append(f"{name}: never asked where no is right: its bias is not known")
        elif rate > BAR:
            lines.append(f"{name}: yes to {known.yes_to_false} of {known.false_asked} false questions ({rate:.2f})")
        if name in checks and known.true_rate is not None and known.true_rate <= (rate or 0):
            lines.append(f"{name}: no better than chance: SPI says nothing")
    if blind := [f"Q{q}" for q, (false, true) in _rates(bias).items() if true <= false]:
        lines.append(f"no better than chance on {', '.join(blind)}: scores cannot be corrected")
    return lines


def _rates(bias: Bias) -> dict[int, tuple[float, float]]:
    """(f_q, t_q) by question. One never planted counts with f = 0 and t = 1, as it was said."""
    return {q: (k.false_rate or 0.0, 1.0 if k.true_rate is None else k.true_rate) for q, k in bias.items()}


def corrected(video: Judged, bias: Bias) -> dict[str, float] | None:
    """kisa, sgi and if_score of a video, every answer corrected and weighted by the video's SPI.

    None where the judge tells yes from no no better than chance on a question (t_q ≤ f_q): nothing can be made of its
    answers then.
    """
    rates = _rates(bias)
    if any(true <= false for false, true in rates.values()):
        return None

    def part(questions: range) -> float:
        values = []
        for answers in video.answers:
            for a in answers:
                if a.question_id in questions:
                    false, true = rates[a.question_id]
                    values.append(((a.answer == YES) - false) / (true - false))
        return fmean(values) * video.scores.spi

    kisa, sgi = part(KISA_QUESTIONS), part(SGI_QUESTIONS)
    return {"kisa": kisa, "sgi": sgi, "if_score": (kisa + sgi) / 2}
