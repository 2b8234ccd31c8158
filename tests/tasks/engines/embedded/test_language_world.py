"""The caption stage over captions of the world, held against their truth. Prints the figures for `docs/log.md`.

Seeds from 50 000 on are for reporting only; the grammar was tuned on others.
"""

import pytest

from schemas import Reason, Status
from tasks.caption.stage import CaptionSettings, caption
from tasks.engines.embedded.language import EmbeddedLanguage
from tasks.world.score.pairing import pair
from tests.tasks.caption.captioning import make_case, world_truth

SEEDS = range(50_000, 50_300)


def test_triplets_of_unseen_captions(capsys: pytest.CaptureFixture[str]) -> None:
    truths = [world_truth(seed) for seed in SEEDS]
    cases = [make_case(n, t.caption) for n, t in enumerate(truths, 1)]
    everything = CaptionSettings(min_contact=1, min_dynamism=1)
    right = stated = true = rated = verbs = 0
    for truth, row in zip(truths, caption(cases, EmbeddedLanguage(), None, everything), strict=True):
        true += len(truth.triplets)
        if row.payload is None:
            assert row.reason in (Reason.NO_INTERACTION, Reason.FILTERED), row.detail
            continue
        paired = pair(row.payload, truth)
        stated += len(paired.triplets)
        for act, found in paired.triplets:
            if found:
                right += 1
                rated += (act.rating.contact, act.rating.dynamism) == (found.contact, found.dynamism)
                verbs += act.spans.verb == found.spans.verb
    precision, recall = right / stated, right / true
    f1 = 2 * precision * recall / (precision + recall)
    with capsys.disabled():
        print(
            f"\ncaption grammar, {len(SEEDS)} unseen captions, {true} triplets: precision {precision:.4f} "
            f"recall {recall:.4f} F1 {f1:.4f}; as in truth: ratings {rated / right:.3f}, verb spans {verbs / right:.3f}"
        )
    assert f1 >= 0.98
    assert rated / right >= 0.95 and verbs / right >= 0.95


def test_captions_without_interaction() -> None:
    truths = [world_truth(seed, silent=True) for seed in SEEDS[:100]]
    cases = [make_case(n, t.caption) for n, t in enumerate(truths, 1)]
    for truth, row in zip(truths, caption(cases, EmbeddedLanguage(), None, CaptionSettings()), strict=True):
        assert (row.status, row.reason) == (Status.REJECTED, Reason.NO_INTERACTION), truth.caption
