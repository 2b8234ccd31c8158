"""Which tokens of a prompt mean whom: by tags, or by words that the job names."""

import re
from collections.abc import Collection, Iterable, Mapping

from transformers import PreTrainedTokenizerFast

from matrix_train.attention.prompts import RoleTokens, encode
from matrix_train.errors import UserError
from matrix_train.sample.job import Job
from schemas import RoleSpans, Span

TAG = re.compile(r"<(id[1-9][0-9]?)>")


def check_words(job: Job, masked: Collection[str], tagged: bool | None) -> dict[str, tuple[Span, ...]]:
    """Where each role's words stand in the prompt, by its IDs; none for a prompt that names nobody.

    masked: IDs that have a mask. tagged: whether the model was trained on prompts with tags; None: not known.
    UserError where tags, roles and masks do not fit each other, or the prompt lacks a role's words.
    """
    tags: dict[str, list[Span]] = {}
    for found in TAG.finditer(job.prompt):
        tags.setdefault(found[1], []).append(Span(start=found.start(), end=found.end()))
    if tags and tagged is False:
        raise UserError(
            "the prompt has tags, but the model was trained without: close them around the words, <id1>a man</id1>, or "
            "give roles"
        )
    if tagged and not tags:
        raise UserError("the model was trained on prompts with tags: write <id1> before the words that mean id1")
    places = {ids: tuple(spans) for ids, spans in tags.items()}
    places |= role_words(job)
    named = {name for ids in places for name in ids.split("+")}
    if bare := sorted(named - set(masked)):
        tag = f"<{bare[0]}>" if bare[0] in tags else bare[0]
        raise UserError(f"{tag} is in the prompt or its roles, but has no mask: give it one, or take it out")
    if places and (silent := sorted(set(masked) - named)):
        raise UserError(
            f"{silent[0]} has a mask, but neither tag nor role says which words mean it: write <{silent[0]}> or give "
            f"its role, or leave its mask out"
        )
    return places


def role_words(job: Job) -> dict[str, tuple[Span, ...]]:
    """Where the words of the job's roles stand in its prompt, by their IDs. UserError where it does not say them."""
    return {
        ids: _find(job.prompt, ids, words) if isinstance(words, str) else _inside(job.prompt, ids, words)
        for ids, words in job.roles.items()
    }


def role_places(acts: Iterable[tuple[str, str, RoleSpans]]) -> dict[str, tuple[Span, ...]]:
    """Where the words of each ID, and of the verbs of each pair, stand. acts: subject, object, and their words."""
    found: dict[str, list[Span]] = {}
    for subject, object_, words in acts:
        whose = {"subject": subject, "verb": f"{subject}+{object_}", "object": object_}
        for role, parts in words:
            places = found.setdefault(whose[role], [])
            places += [part for part in parts if part not in places]
    return {ids: tuple(places) for ids, places in found.items()}


def role_tokens(
    tokenizer: PreTrainedTokenizerFast, prompt: str, places: Mapping[str, tuple[Span, ...]], length: int
) -> tuple[tuple[int, ...], dict[str, tuple[int, ...]]]:
    """The padded ids of the prompt, and each role's tokens. UserError where the prompt is cut before a role's words."""
    ranges = [{"subject": spans, "verb": (), "object": ()} for spans in places.values()]
    found = encode(tokenizer, prompt, ranges, length)
    tokens = {}
    for ids, role in zip(places, found.interactions, strict=True):
        if not isinstance(role, RoleTokens):
            why = {"truncated": f"lie beyond its {length} tokens: shorten it"}.get(
                role.reason, "make no token of their own"
            )
            raise UserError(f"the prompt's words for {ids} {why}")
        tokens[ids] = role.subject
    return found.input_ids, tokens


def _find(prompt: str, ids: str, words: str) -> tuple[Span, ...]:
    """Whole words, as they are written."""
    found = (
        [m.span() for m in re.finditer(rf"(?<!\w){re.escape(words.strip())}(?!\w)", prompt)] if words.strip() else []
    )
    if not found:
        raise UserError(f"the prompt does not say {words!r}, the words of {ids}: write them as they stand there")
    if len(found) > 1:
        raise UserError(
            f"the prompt says {words!r}, the words of {ids}, {len(found)} times: give more of them, or their places as "
            '[{"start": …, "end": …}]'
        )
    return (Span(start=found[0][0], end=found[0][1]),)


def _inside(prompt: str, ids: str, spans: tuple[Span, ...]) -> tuple[Span, ...]:
    if not spans:
        raise UserError(f"{ids} has no places in the prompt: give its words, or leave it out")
    for span in spans:
        if span.end > len(prompt) or not prompt[span.start : span.end].strip():
            raise UserError(f"the place {span.start}-{span.end} of {ids} holds no words of the prompt")
    return spans
