"""The benchmark that plants blocks: it runs, and on a model that was not trained it finds nothing by luck alone."""

import torch

from benchmarks.planted import BLOCKS, HELD_OUT, World, trial


def test_it_runs_and_says_for_every_block_what_it_saw() -> None:
    found = trial(seed=0, steps=1)
    assert found["ground_block"] != found["carry_block"]
    assert {len(own) for own in found["aas"].values()} == {BLOCKS}
    assert {len(own) for own in found["gap"].values()} == {BLOCKS}
    # Equal weights: a role's attention lies in its mask as far as the mask reaches.
    assert max(found["aas"]["noun.v2t"]) < 5


def test_a_scene_shows_what_it_says() -> None:
    world = World(3)
    scenes = world.inputs(HELD_OUT)
    subject, verb, obj = scenes.cells.unbind(dim=1)
    assert torch.equal(verb, subject | obj)
    assert not (subject & obj).any()
    assert scenes.roles.text.present.all() and scenes.roles.video.present.all()
