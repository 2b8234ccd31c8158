"""The ten questions of a key interaction, of fixed form and version (paper App. F).

The authors let a language model write them, example by example; a fixed form asks the same of every video and can be
answered from tracks too. Two choices are ours (docs/training/evaluate.md):
- Q1–Q6 ask *what happens* and leave open who takes a part; Q7–Q10 ask *who*. So an act with its roles exchanged, or by
  the wrong one of two alike, lowers SGI and not KISA.
- An act that goes on from the first frame has no "before": Q1 asks there that it is not over yet.
"""

from matrix_train.evaluate.protocol.prompt import KeyInteraction, Prompt

VERSION = "v1"
"""Raised with every change of a form: answers to other questions are other scores."""


def questions_of(prompt: Prompt, act: KeyInteraction) -> tuple[str, ...]:
    """The ten, in their order. Both instances are named with their colours, but in Q7 and Q10."""
    s, o = f"the {prompt.instance(act.subject).named}", f"the {prompt.instance(act.object).named}"
    deed = f'the action "{act.verb}"'
    pair = f"{deed} between {s} and {o}, whoever takes which part,"
    return (
        f"In the first frame, is {pair} not yet done: not begun, or still going on?",
        f"Does {pair} begin in these frames: do those who take part turn, move or reach for it?",
        f"Is there a frame in which those who take part in {pair} are in contact, or near enough for it?",
        f"Is there more than one frame in which {pair} is going on?",
        f"Does {pair} have an effect while it goes on: do those who take part change place or pose?",
        f"Is the outcome of {pair} visible in the end?",
        f"Is {s} performing an action?",
        f"Is it {s} who performs {deed} on {o}, and nobody else?",
        f"Is it {o} on which {s} performs {deed}, and nothing else?",
        f"Is {o} the one that {deed} is done to?",
    )
