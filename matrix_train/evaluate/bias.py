"""How far a yes/no judge can be believed: its rate of yes to questions whose answer is known.

Judges of images say yes too easily. What is known of a question q: f_q, how often the judge says yes where no is right,
and t_q, how often where yes is. The share p of right yes then follows from the share o that it said, since
o = p·t_q + (1 − p)·f_q (Rogan and Gladen, "Estimating prevalence from the results of a screening test", 1978), so every
answer a in {0, 1} counts as (a − f_q) / (t_q − f_q). One video's corrected score may lie outside of [0, 1]; the mean
over videos is what is meant.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from matrix_train.evaluate.faults import static
from matrix_train.evaluate.scores import KISA_QUESTIONS, QUESTIONS, SGI_QUESTIONS, YES, Answer, Judged
from schemas.base import Count, Record
from schemas.truth import TrueTriplet, VideoTruth

BAR = 0.3
"""From this rate of yes to false questions on, a judge is warned of."""


class Known(Record):
    """What a judge said to one of the ten questions where the answer was known."""

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

Answers = Sequence[Sequence[Answer]]
"""Ten a key interaction."""


@dataclass(frozen=True)
class Plant:
    """Questions whose answers are known: what is asked for, what is seen, and whether a still picture is shown."""

    name: str
    asked: VideoTruth
    seen: VideoTruth
    still: bool = False


def plants(truth: VideoTruth) -> list[Plant]:
    """Of one true video: itself; the same questions with the roles exchanged; about another of the agent's or the
    recipient's class, who is in the first frame and takes no part; and its first frame as a still picture.

    The still is left out where an act goes on in frame 0 already, which a single frame may show.
    """
    found = [Plant("true", truth, truth)]
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
        found.append(Plant("still", truth, static(truth), still=True))
    return found


def _asking(truth: VideoTruth, triplets: Sequence[TrueTriplet]) -> VideoTruth:
    """What would have been asked for: its prompt says so too."""
    names = {i.id: i.phrase for i in truth.instances}
    words = "; ".join(f"{names[t.subject]} {t.verb} {names[t.object]}" for t in triplets)
    return truth.model_copy(update={"triplets": tuple(triplets), "caption": words})


def measure(pairs: Iterable[tuple[Answers, Answers]]) -> Bias:
    """pairs: what is known and what the judge said, of the same questions."""
    counts = {q: [0, 0, 0, 0] for q in QUESTIONS}
    for known, said in pairs:
        for right, told in zip(known, said, strict=True):
            for a, b in zip(right, told, strict=True):
                place = 2 if a.answer == YES else 0
                counts[a.question_id][place] += 1
                counts[a.question_id][place + 1] += b.answer == YES
    names = ("false_asked", "yes_to_false", "true_asked", "yes_to_true")
    return {q: Known(**dict(zip(names, count, strict=True))) for q, count in counts.items()}


def warnings(bias: Bias) -> list[str]:
    """A line for each question to which the judge says yes too easily, for those that were never planted, and for
    those on which it is of no use."""
    lines = []
    for q, known in bias.items():
        if (rate := known.false_rate) is None:
            lines.append(f"Q{q}: never asked where no is right: its bias is not known")
        elif rate > BAR:
            lines.append(f"Q{q}: yes to {known.yes_to_false} of {known.false_asked} false questions ({rate:.2f})")
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
