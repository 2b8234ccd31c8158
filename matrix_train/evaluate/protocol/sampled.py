"""What `sample` leaves so that `evaluate` goes on from there: of each video a line of prompts, and its ID map.

    matrix_train sample RUN --dataset DS --split val --out F
    matrix_train evaluate F --prompts F/prompts.jsonl --judge tracks --out E

F/prompts.jsonl       of the videos that `sample` has made or found made; what people wrote into a line stays
F/<video>.idmap.png   who is who in the first frame, in the video's size
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from matrix_train.errors import UserError
from matrix_train.evaluate.protocol.prompt import Prompt, read_prompts
from matrix_train.files import write_whole
from matrix_train.sample.beside import IDMAP, PROMPTS_FILE
from matrix_train.sample.job import Job
from matrix_train.sample.reading import heads_of, ratings_of
from matrix_train.sample.words import role_words
from schemas import Sample, Span
from schemas.idmap import encode_id_map
from schemas.palette import number
from schemas.text import one_line

Asked = tuple[Prompt, NDArray[np.uint8]]
"""A line, and its ID map: palette indices [height, width] of the video's size."""

_ARTICLE = re.compile(r"^(?:an?|the)\s+", re.IGNORECASE)


Found = Mapping[str, tuple[str, Asked | str]]
"""By video: its prompt, and what is asked about it, or why nothing is."""


def check_place(folder: Path, names: Iterable[str] = ()) -> None:
    """UserError where a file that is none of ours would be written over. names: of the jobs that are asked for."""
    ours = {own.idmap for own in _lines(folder).values()}
    for name in names:
        if name + IDMAP not in ours and (folder / (name + IDMAP)).exists():
            raise UserError(f"{folder / name}{IDMAP} would be written over: give another --out")


def _lines(folder: Path) -> dict[str, Prompt]:
    """By video, what an earlier run has left. UserError where somebody else has."""
    file = folder / PROMPTS_FILE
    try:
        lines = {own.video: own for own in read_prompts(file)}
    except FileNotFoundError:
        return {}
    except (OSError, UserError):
        raise UserError(f"{file} is no prompts file, and would be written over: give another --out") from None
    if others := [own.video for own in lines.values() if own.idmap != Path(own.video).stem + IDMAP]:
        raise UserError(
            f"{file}: the line of {others[0]} is not of `sample`, which adds lines there: give another --out"
        )
    return lines


def asked_of_sample(video: str, sample: Sample, id_map: NDArray[np.uint8]) -> Asked | str:
    """Of a clip of a data set, or why nothing can be asked. Whoever is neither in the first frame nor in an interaction
    is left out: nothing says where it is."""
    acting = {name for act in sample.interactions for name in (act.subject, act.object)}
    there = [own for own in sample.instances if own.id in acting or (id_map == number(own.id)).any()]
    instances = [{"id": own.id, "cls": own.cls, "appearance": _without_article(own.noun)} for own in there]
    acts = [
        {"subject": act.subject, "verb": act.verb, "object": act.object,
         "contact": act.rating.contact, "dynamism": act.rating.dynamism}
        for act in sample.interactions
    ]  # fmt: skip
    return _asked(video, sample.caption, instances, acts, id_map)


def asked_of_job(video: str, job: Job, id_map: NDArray[np.uint8]) -> Asked | str:
    """Of a job whose roles say who does what to whom, or why nothing can be asked.

    Class and ratings are the grammar's that reads captions; where it does not know them, the class is the last word
    and ratings are left out.
    """
    places = role_words(job)
    nouns = {ids: spans for ids, spans in places.items() if "+" not in ids}
    pairs = {ids: spans for ids, spans in places.items() if ids.count("+") == 1 and set(ids.split("+")) <= nouns.keys()}
    if not pairs:
        return "no roles say who does what to whom"
    phrases = {ids: max(_words(job.prompt, spans), key=len) for ids, spans in nouns.items()}
    heads, ratings = heads_of(job.prompt, nouns), ratings_of(job.prompt, pairs)
    instances = [
        {"id": ids, "cls": heads.get(ids, phrase.split()[-1]), "appearance": _without_article(phrase)}
        for ids, phrase in sorted(phrases.items(), key=lambda own: number(own[0]))
    ]  # fmt: skip
    acts = [
        dict(zip(("subject", "object"), ids.split("+"), strict=True))
        | {"verb": " ".join(_words(job.prompt, spans))} | ratings.get(ids, {})
        for ids, spans in pairs.items()
    ]  # fmt: skip
    return _asked(video, job.prompt, instances, acts, id_map)


def write_prompts(folder: Path, found: Found) -> Path | None:
    """The file, and the ID maps that it names; None, and no file, where there is no line.

    A line that is there stays as long as its video is, and has its prompt: people may have written into it.
    """
    file, before = folder / PROMPTS_FILE, _lines(folder)
    lines = {video: own for video, own in before.items() if video not in found and (folder / video).is_file()}
    maps: dict[str, NDArray[np.uint8]] = {}
    for video, (prompt, asked) in found.items():
        known = before.get(video)
        if known is not None and known.prompt == prompt:
            lines[video] = known
        elif not isinstance(asked, str):
            lines[video] = asked[0]
        if video in lines and not isinstance(asked, str):
            maps[video] = asked[1]
    if lines:
        write_whole(file, "\n".join(own.model_dump_json(exclude_none=True) for own in lines.values()) + "\n")
    else:
        file.unlink(missing_ok=True)
    for video in before.keys() - lines.keys():
        (folder / (Path(video).stem + IDMAP)).unlink(missing_ok=True)
    for video, indices in maps.items():
        write_whole(folder / (Path(video).stem + IDMAP), encode_id_map(indices))
    return file if lines else None


def _asked(
    video: str, prompt: str, instances: list[dict[str, Any]], acts: list[dict[str, Any]], id_map: NDArray[np.uint8]
) -> Asked | str:
    known = {"video": video, "prompt": prompt, "instances": instances, "interactions": acts}
    try:
        return Prompt.model_validate(known | {"idmap": Path(video).stem + IDMAP}), id_map
    except ValidationError as error:
        return one_line(error)


def _words(prompt: str, spans: Iterable[Span]) -> list[str]:
    return [prompt[span.start : span.end].strip() for span in spans]


def _without_article(phrase: str) -> str:
    return _ARTICLE.sub("", phrase)
