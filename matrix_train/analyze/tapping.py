"""AAS of any pipeline of diffusers whose transformer is known here, while it runs, without anything of our training.

    man = Role("man", spans_of(prompt, "A man"), masks_of_man)
    with tap(pipe, prompt, [man, cart]) as reading:
        pipe(prompt=prompt, image=image, num_inference_steps=50)
    reading.values          # [prompts, steps, blocks, kinds, roles, values]

The transformer is not changed: every block's attention gets another processor and, in the end, its own back. What the
pipeline makes is what it makes without a tap, bit for bit on a CPU (test).
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from matrix_train.align.metrics import latent_masks
from matrix_train.analyze.reading import NOTHING, Aim, Kept, Processors, Reading
from matrix_train.attention.prompts import RoleTokens, encode
from matrix_train.attention.roles import RoleWeights, query_weights, token_weights
from matrix_train.backbones import BACKBONES, Backbone
from matrix_train.errors import UserError
from schemas import Span


@dataclass(frozen=True)
class Role:
    """Words of a prompt, and where in the video that is which they name.

    A verb's masks are the union of its subject's and its object's (paper §4).
    """

    name: str
    spans: tuple[Span, ...]
    """Of its words in the prompt."""
    masks: NDArray[np.bool_]
    """[T, H, W], T as the pipeline's `num_frames`. Those of the first frame are where propagation starts."""


def spans_of(prompt: str, *words: str) -> tuple[Span, ...]:
    """Where these words first stand in the prompt. UserError where they do not."""
    places = [(prompt.find(word), len(word)) for word in words]
    for word, (start, _) in zip(words, places, strict=True):
        if start < 0:
            raise UserError(f"the prompt does not hold {word!r}: give words as they stand in it")
    return tuple(Span(start=start, end=start + length) for start, length in places)


@contextmanager
def tap(
    pipe: Any, prompts: str | Sequence[str], roles: Sequence[Role] | Sequence[Sequence[Role]], kept: Kept = NOTHING
) -> Iterator[Reading]:
    """Reads one call of the pipeline inside it. prompts: those of the call; roles: of the prompt, or of each.

    UserError for a transformer that is not known here, words that the prompt does not hold, and masks that do not fit
    the video.
    """
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    each: list[Sequence[Role]] = [roles] if isinstance(prompts, str) else list(roles)  # type: ignore[list-item,arg-type]
    if len(each) != len(texts):
        raise UserError(f"{len(texts)} prompts and roles of {len(each)}: give a list of roles for each prompt")
    models = [model for name in ("transformer", "transformer_2") if (model := getattr(pipe, name, None)) is not None]
    kind = kind_of(models[0])

    def aim(lattice: tuple[int, int, int], length: int) -> Aim:
        return aim_of(pipe.tokenizer, texts, each, lattice, length)

    with tapped(kind, models, aim, lambda: pipe.guidance_scale > 1, kept) as reading:
        yield reading


def kind_of(model: Any) -> type[Backbone]:
    """Whose attention is built as this transformer's: how to read it depends on its class alone. UserError."""
    for kind in BACKBONES.values():
        if kind.model_class.__name__ == type(model).__name__:
            return kind
    known = ", ".join(dict.fromkeys(kind.model_class.__name__ for kind in BACKBONES.values()))
    raise UserError(f"a {type(model).__name__} cannot be read here; {known} can")


@contextmanager
def tapped(
    kind: type[Backbone],
    models: Sequence[Any],
    aim: Callable[[tuple[int, int, int], int], Aim],
    guided: Callable[[], bool],
    kept: Kept = NOTHING,
) -> Iterator[Reading]:
    """Reads the conditional side of every call of these models.

    aim: what to read, given frames, height and width of the tokens and the length of the prompt; asked once. guided:
    whether the call that is running uses guidance.
    """
    reading = Reading(kept)
    processors = Processors(kind, models, reading)
    calls = 0
    found: Aim | None = None

    def before(module: Any, args: Any, kwargs: Any) -> None:
        nonlocal calls, found
        given = inspect.signature(module.forward).bind(*args, **kwargs).arguments
        states, prompt = given["hidden_states"], given["encoder_hidden_states"]
        both = guided()
        calls += 1
        if both and not kind.prompts_together and calls % 2 == 0:
            return
        if found is None:
            found = aim(kind.lattice(module.config, states.shape), prompt.shape[1]).to(states.device)
        rows = len(states) // 2 if both and kind.prompts_together else len(states)
        times, over = divmod(rows, len(found.cells))
        if over or not times:
            raise UserError(f"the tap was given {len(found.cells)} prompts, the pipeline's call makes {rows} videos")
        reading.begin(found.repeated(times) if times > 1 else found, given["timestep"])

    def after(module: Any, args: Any, output: Any) -> None:  # noqa: ARG001
        if reading.open:
            reading.end()

    hooks = [hook for m in models for hook in (m.register_forward_pre_hook(before, with_kwargs=True),
                                               m.register_forward_hook(after))]  # fmt: skip
    try:
        yield reading
    finally:
        for hook in hooks:
            hook.remove()
        processors.restore()


def aim_of(
    tokenizer: Any, prompts: Sequence[str], roles: Sequence[Sequence[Role]], lattice: tuple[int, int, int], length: int
) -> Aim:
    """length: of the prompts in tokens. UserError where words or masks do not fit."""
    most = max(len(own) for own in roles)
    text = torch.zeros(len(prompts), most, length)
    cells = torch.zeros(len(prompts), most, *lattice, dtype=torch.bool)
    queries = torch.zeros(len(prompts), most, lattice[0] * lattice[1] * lattice[2])
    for p, (prompt, own) in enumerate(zip(prompts, roles, strict=True)):
        for r, role in enumerate(own):
            text[p, r] = token_weights([_tokens(tokenizer, prompt, role, length)], length)[0]
            masks = torch.from_numpy(role.masks)[None, None]
            factor = _time_factor(role, lattice)
            cells[p, r] = latent_masks(masks, *lattice[1:], factor)[0, 0]
            queries[p, r] = query_weights(masks[:, :, 0], *lattice)[0, 0]
    return Aim(RoleWeights.build(text, queries), cells)


def _tokens(tokenizer: Any, prompt: str, role: Role, length: int) -> tuple[int, ...]:
    (found,) = encode(tokenizer, prompt, [{"subject": role.spans, "verb": (), "object": ()}], length).interactions
    if not isinstance(found, RoleTokens):
        why = {"truncated": f"ends after token {length}", "no_token": "is no token", "mismatch": "is cut otherwise"}
        raise UserError(f"role {role.name!r}: its text {why[found.reason]}")
    return found.subject


def _time_factor(role: Role, lattice: tuple[int, int, int]) -> int:
    """Frames of a token's frame after the first. UserError where the masks do not lie on the lattice."""
    frames, height, width = role.masks.shape
    factor, over = divmod(frames - 1, lattice[0] - 1) if lattice[0] > 1 else (1, frames - 1)
    if over or height % lattice[1] or width % lattice[2]:
        sizes = ["×".join(map(str, shape)) for shape in (role.masks.shape, lattice)]
        raise UserError(
            f"role {role.name!r}: masks of {sizes[0]} do not lie on the video's {sizes[1]} tokens: give them at the "
            "pipeline's num_frames, height and width"
        )
    return max(factor, 1)
