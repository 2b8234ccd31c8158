"""The authors' files (`authors.py`), whoever wrote them, as a result of ours: `matrix_train evaluate F --judge files`.

F/question_verification.json, F/_emergence_disappearance.json     the answers, which are scored
F/questions/                        if it is there: what was asked, held against what was answered
F/combined_scores_summary.json      if it is there: their scores, held against ours
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from matrix_train.errors import UserError
from matrix_train.evaluate.exchange.authors import (
    COMBINED_FILE,
    PERSISTENCE_FILE,
    QUESTIONS_FOLDER,
    VERIFICATION_FILE,
    Combined,
    PersistenceVideo,
    QuestionsFile,
    VerifiedVideo,
    digest,
)
from matrix_train.evaluate.page import Sheet, write_page
from matrix_train.evaluate.protocol.scores import SCORES, FrameCheck, VideoScores, video_scores
from matrix_train.evaluate.run import SCORES_FILE, mean_of
from matrix_train.files import write_json
from schemas.text import one_line

T = TypeVar("T")
V = TypeVar("V", VerifiedVideo, PersistenceVideo)


def evaluate_files(folder: Path, out: Path) -> dict[str, Any]:
    """What a folder's answers score, written as `scores.json` and a page; videos go by their video_id.

    What is wrong with one video, or that it was asked about and has no answers, makes a failed one of it. UserError for
    files that hold no list, for answers of several judges, and where no video has a score.
    """
    verified, failed = _each(folder / VERIFICATION_FILE, VerifiedVideo)
    persistence, unchecked = _each(folder / PERSISTENCE_FILE, PersistenceVideo)
    asked, unasked = _questions(folder)
    failed = unasked | unchecked | failed
    scores = {}
    for video_id in sorted({*verified, *persistence, *asked} - failed.keys()):
        try:
            scores[video_id] = _scored(verified.get(video_id), persistence.get(video_id), asked.get(video_id))
        except ValueError as error:
            failed[video_id] = str(error)
    if not scores:
        why = f"; the first: {min(failed)}: {failed[min(failed)]}" if failed else ""
        raise UserError(f"{folder / VERIFICATION_FILE} holds no video that can be scored{why}")
    if len(judges := sorted({verified[video_id].model_used for video_id in scores})) > 1:
        raise UserError(f"{folder / VERIFICATION_FILE} is by several judges ({', '.join(judges)}): one result has one")
    found = {
        "judge": judges[0],
        "videos": len(scores),
        "not_asked": 0,
        "failed": dict(sorted(failed.items())),
        "undecided": 0,
        "means": {name: mean_of([getattr(one, name) for one in scores.values()]) for name in SCORES},
        "corrected": {}, "bias": {}, "vbench": {}, "measures": {}, "cost": {},
        "theirs": _apart(read_combined(folder), scores) if (folder / COMBINED_FILE).exists() else {},
        "prompts": {video_id: digest(asked.get(video_id) or _as_asked(verified[video_id])) for video_id in scores},
        "by_video": {video_id: {name: getattr(one, name) for name in SCORES} for video_id, one in scores.items()},
    }  # fmt: skip
    write_json(out / SCORES_FILE, found)
    by_score = sorted(scores, key=lambda video_id: (scores[video_id].if_score, video_id))
    write_page(out, found, (_sheet(verified[v], persistence[v], scores[v]) for v in by_score))
    return found


def _sheet(video: VerifiedVideo, persistence: PersistenceVideo, scores: VideoScores) -> Sheet:
    acts = [(i.key_interaction, i.questions, i.question_verification_results) for i in video.items]
    return Sheet(video.video_id, video.prompt, acts, _checks(persistence), scores)


def _as_asked(video: VerifiedVideo) -> QuestionsFile:
    """As far as the answers tell."""
    items = tuple(i.model_dump(include={"key_interaction", "questions"}) for i in video.items)
    told = {"video_id": video.video_id, "prompt": video.prompt, "entity": (), "appearance": (), "colors": ()}
    return QuestionsFile.model_validate(told | {"items": items})


def _apart(theirs: dict[str, Combined], scores: dict[str, VideoScores]) -> dict[str, Any]:
    """How far their IF is from ours where both have one, at most; theirs come of raw scores of three places."""
    apart = [abs(theirs[video_id].IF_score - scores[video_id].if_score) for video_id in theirs.keys() & scores.keys()]
    return {"videos": len(apart), "most_apart": max(apart, default=0.0)}


def read_questions(folder: Path) -> dict[str, QuestionsFile]:
    """By video_id. UserError for a file that does not say what its name says."""
    found, failed = _questions(folder)
    for video_id, why in failed.items():
        raise UserError(f"{folder}: {video_id}: {why}")
    return found


def _questions(folder: Path) -> tuple[dict[str, QuestionsFile], dict[str, str]]:
    """By video_id, and why others are none."""
    found, failed = {}, {}
    for path in sorted((folder / QUESTIONS_FOLDER).glob("*.json")):
        try:
            file = QuestionsFile.model_validate_json(path.read_bytes())
        except ValidationError as error:
            failed[path.stem] = f"{QUESTIONS_FOLDER}/{path.name}: {one_line(error)}"
            continue
        if file.video_id == path.stem:
            found[path.stem] = file
        else:
            failed[path.stem] = f"{QUESTIONS_FOLDER}/{path.name} is about {file.video_id}: give it that name"
    return found, failed


def read_verification(folder: Path) -> dict[str, VerifiedVideo]:
    return _by_video(folder / VERIFICATION_FILE, _read(folder / VERIFICATION_FILE, TypeAdapter(list[VerifiedVideo])))


def read_persistence(folder: Path) -> dict[str, PersistenceVideo]:
    return _by_video(folder / PERSISTENCE_FILE, _read(folder / PERSISTENCE_FILE, TypeAdapter(list[PersistenceVideo])))


def read_combined(folder: Path) -> dict[str, Combined]:
    """By video_id, of the one model and data type that the file is of. UserError for several."""
    path = folder / COMBINED_FILE
    models = _read(path, TypeAdapter(dict[str, dict[str, dict[str, Combined]]]))
    tables = [table for kinds in models.values() for table in kinds.values()]
    if len(tables) != 1:
        raise UserError(f"{path} holds {len(tables)} models and data types: leave the one that {folder} is of")
    return tables[0]


def score_theirs(folder: Path) -> dict[str, VideoScores]:
    """The scores by video_id from a folder's two files of answers, whoever wrote them.

    UserError where a video is in one file only, an interaction has not ten answers, or a frame has none: their scripts
    take these for a no.
    """
    verified, persistence = read_verification(folder), read_persistence(folder)
    if odd := sorted(verified.keys() ^ persistence.keys()):
        raise UserError(f"{folder}: {odd[0]} is in one of {VERIFICATION_FILE} and {PERSISTENCE_FILE} only")
    scores = {}
    for video_id, video in verified.items():
        try:
            scores[video_id] = _scored(video, persistence[video_id], None)
        except ValueError as error:
            raise UserError(f"{folder}: {video_id}: {error}") from None
    return scores


def _scored(
    video: VerifiedVideo | None, persistence: PersistenceVideo | None, asked: QuestionsFile | None
) -> VideoScores:
    """ValueError where something is not there, or was answered otherwise than it was asked."""
    if video is None or persistence is None:
        raise ValueError(f"no answer in {VERIFICATION_FILE if video is None else PERSISTENCE_FILE}")
    if asked and [i.questions for i in asked.items] != [i.questions for i in video.items]:
        raise ValueError(f"was asked other questions than {QUESTIONS_FOLDER}/ has for it")
    try:
        return video_scores([i.question_verification_results for i in video.items], _checks(persistence))
    except ValueError as error:
        raise ValueError(f"{error}: have it judged again") from None


def _checks(persistence: PersistenceVideo) -> list[FrameCheck]:
    return [
        FrameCheck(
            frame_idx=f.frame_idx, emergence=f.emergence == "yes", disappearance=f.disappearance == "yes",
            emergence_reason=f.emergence_reason, disappearance_reason=f.disappearance_reason,
        )
        for f in persistence.hallucination_results
    ]  # fmt: skip


def _each(path: Path, form: type[V]) -> tuple[dict[str, V], dict[str, str]]:
    """The videos of a list by video_id, and why others are none. UserError where there is no list."""
    found: dict[str, V] = {}
    failed: dict[str, str] = {}
    for count, item in enumerate(_read(path, TypeAdapter(list[Any])), start=1):
        name = item.get("video_id") if isinstance(item, dict) else None
        video_id = name if isinstance(name, str) else f"{path.name}, entry {count}"
        if video_id in found or video_id in failed:
            found.pop(video_id, None)
            failed[video_id] = f"is in {path.name} twice"
            continue
        try:
            found[video_id] = form.model_validate_json(json.dumps(item))
        except ValidationError as error:
            failed[video_id] = f"{path.name}: {one_line(error)}"
    return found, failed


def _by_video(path: Path, videos: Sequence[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for video in videos:
        if video.video_id in found:
            raise UserError(f"{path}: {video.video_id} is there twice")
        found[video.video_id] = video
    return found


def _read(path: Path, form: TypeAdapter[T]) -> T:
    try:
        return form.validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"there is no {path}") from None
    except ValidationError as error:
        raise UserError(f"{path}: {one_line(error)}") from None
