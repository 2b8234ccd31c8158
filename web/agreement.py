"""What the people's page shows: who did how much how fast, and how far they agree."""

from collections import Counter, defaultdict
from statistics import median
from typing import Any

from tasks.review.agreement import by_label, kappa
from tasks.review.journal import Journal
from web.queue import Queue

PAUSE_S = 300.0
"""Seconds between two patches from which a person was away."""


def tables(queue: Queue, journal: Journal) -> dict[str, Any]:
    """Kappa over all tracks that two people have finished with, and a row a reviewer."""
    pairs: list[tuple[str, str]] = []
    said: dict[str, Counter[str]] = defaultdict(Counter)
    needs: Counter[str] = Counter()
    versions = journal.versions()
    clips = [clip for clip in versions if clip in queue.items]
    needs["first"] = len(queue.items) - len(clips)
    for clip in clips:
        shown = queue.clip(clip)
        words = shown.words(queue.said(clip))
        needs[queue.standing(clip, versions[clip]).outcome.need] += 1
        for word in words:
            said[word.reviewer]["clips"] += 1
            said[word.reviewer].update(d.decision for d in word.state.decisions.values() if d.decision)
        if len(words) > 1:
            one, other = words[0].state.decisions, words[1].state.decisions
            pairs += [(str(one[i].decision), str(other[i].decision)) for i in shown.masks]
    spent: dict[str, list[float]] = defaultdict(list)
    last: dict[str, float] = {}
    for who, _, at in journal.times():
        if who in last and at - last[who] < PAUSE_S:
            spent[who].append(at - last[who])
        last[who] = at
    return {
        "overall": kappa(pairs),
        "labels": by_label(pairs),
        "needs": needs,
        "people": [
            {"name": who, **{key: counts[key] for key in ("clips", "accept", "fix", "drop")},
             "seconds": sum(spent[who]) / counts["clips"] if counts["clips"] else 0.0,
             "step": median(spent[who]) if spent[who] else 0.0}
            for who, counts in sorted(said.items())
        ],
    }  # fmt: skip
