"""Training-free guidance by attention that lacks something: CMG and CAG (paper App. E), for every backbone.

    ε̃ = ε + s · (ε − ε̂)

ε̂ is the model's answer to the prompt with some entries of attention zeroed at a few blocks (`attention/cut.py`): CMG
those from a role's region to its words, CAG those between frames. Each is a pass more a step, of the prompt alone. ε is
the answer to the prompt too, and under classifier-free guidance the difference is added to what that gives.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from matrix_train.attention.cut import Words, cut_frames, cut_words
from matrix_train.attention.lse import has_lse
from matrix_train.attention.maps import Direction, Layout, attend
from matrix_train.errors import UserError

if TYPE_CHECKING:
    from matrix_train.backbones.base import Backbone

Kind = Literal["cmg", "cag"]

DIRECTIONS: dict[Kind, Direction] = {"cmg": "v2t", "cag": "v2v"}


@dataclass(frozen=True)
class Guidance:
    """Scales s, and where. A scale of 0 leaves its kind out, at no cost."""

    cmg: float
    cag: float
    cmg_blocks: tuple[int, ...]
    cag_blocks: tuple[int, ...]
    words: Words | None
    """What CMG zeroes; None where it is left out."""
    frames: int
    """Of the latent grid."""

    def parts(self) -> "dict[Kind, tuple[float, tuple[int, ...], Any]]":
        """Of each kind that is asked for: scale, blocks, and attention with its entries zeroed."""
        found: dict[Kind, tuple[float, tuple[int, ...], Any]] = {}
        if self.cmg:
            assert self.words is not None
            found["cmg"] = (self.cmg, self.cmg_blocks, partial(cut_words, words=self.words))
        if self.cag:
            found["cag"] = (self.cag, self.cag_blocks, partial(cut_frames, frames=self.frames))
        return found


class _Switch:
    """Which kind's entries are zeroed now."""

    on: Kind | None = None


@dataclass(frozen=True)
class _Cut:
    """Stands where a tap does: attends, without some entries while the switch says so."""

    switch: _Switch
    kinds: dict[Kind, Any]

    def attend(self, q: Tensor, k: Tensor, v: Tensor, layout: Layout) -> Tensor:
        lacking = self.kinds.get(self.switch.on) if self.switch.on is not None else None
        return attend(q, k, v, None)[0] if lacking is None else lacking(q, k, v, layout)


@contextmanager
def guided(backbone: "Backbone", guidance: Guidance | None, classifier_free: bool) -> Iterator[None]:
    """Around one video's `denoise`, alone in its batch. Nothing is touched where there is no scale.

    classifier_free: whether the pipeline asks for the empty prompt too. UserError for a block that does not exist, and
    where no kernel here gives the log-sum-exp.
    """
    parts = guidance.parts() if guidance is not None else {}
    if not parts:
        yield
        return
    check_kernel(backbone)
    switch = _Switch()
    planned: dict[str, dict[Kind, Any]] = {}
    for kind, (_, blocks, lacking) in parts.items():
        backbone.check_blocks(blocks)
        for block in blocks:
            name = f"{backbone.blocks_in}.{block}.{backbone.attentions[DIRECTIONS[kind]]}"
            planned.setdefault(name, {})[kind] = lacking
    attentions: dict[str, Any] = {name: backbone.model.get_submodule(name) for name in planned}
    before = {name: attention.processor for name, attention in attentions.items()}
    differ = _Difference(backbone, switch, {kind: scale for kind, (scale, *_) in parts.items()}, classifier_free)
    watched = backbone.model.register_forward_hook(differ, with_kwargs=True)
    try:
        for name, attention in attentions.items():
            attention.set_processor(backbone.tap_processor(_Cut(switch, planned[name])))
        yield
    finally:
        watched.remove()
        for name, attention in attentions.items():
            attention.set_processor(before[name])


class _Difference:
    """Adds Σ s · (ε − ε̂) to what the transformer says, after each of its calls.

    To both prompts' answers alike: u + g (c − u) then grows by just that, whatever the guidance g.
    """

    def __init__(self, backbone: "Backbone", switch: _Switch, scales: dict[Kind, float], classifier_free: bool) -> None:
        self.together = backbone.prompts_together and classifier_free
        self.apart = classifier_free and not backbone.prompts_together
        self.switch, self.scales = switch, scales
        self.pending: Tensor | None = None
        """Of the prompt's call, for the empty prompt's, which follows it."""

    def __call__(self, module: Any, _: Any, kwargs: dict[str, Any], output: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        whole, *rest = output
        difference, self.pending = self.pending, None
        if difference is None:
            difference = self._difference(module, kwargs, whole)
            self.pending = difference if self.apart else None
        return (whole + difference, *rest)

    def _difference(self, module: Any, kwargs: dict[str, Any], whole: Tensor) -> Tensor:
        given = kwargs
        if self.together:
            halves = ("hidden_states", "encoder_hidden_states", "timestep")
            given = {name: value[1:] if name in halves else value for name, value in kwargs.items()}
            whole = whole[1:]
        total = torch.zeros_like(whole)
        try:
            for kind, scale in self.scales.items():
                self.switch.on = kind
                # Not by a call, whose hooks would come here again.
                total = total + scale * (whole - module.forward(**given)[0])
        finally:
            self.switch.on = None
        return total


def check_kernel(backbone: "Backbone") -> None:
    """UserError where no fused kernel gives the log-sum-exp that the zeroed entries are formed with."""
    config, model = backbone.model.config, backbone.model
    if not has_lse(torch.empty(1, 1, 1, config.attention_head_dim, device=model.device, dtype=backbone.dtype)):
        raise UserError(
            "CMG and CAG need attention's log-sum-exp, which no kernel gives here: sample in bf16 (--precision bf16), "
            "or on a CPU"
        )
