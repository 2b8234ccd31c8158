"""The authors' files (`files.py`), whoever wrote them, as a result of ours: `matrix_train evaluate F --judge files`.

F/question_verification.json, F/_emergence_disappearance.json     the answers, which are scored
F/questions/                        if it is there: what was asked, held against what was answered
F/combined_scores_summary.json      if it is there: their scores, held against ours
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from matrix_train.errors import UserError
from matrix_train.evaluate.files import (
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
from matrix_train.evaluate.page import write_page
from matrix_train.evaluate.run import SCORES_FILE, mean_of
from matrix_train.evaluate.scores import SCORES, FrameCheck, VideoScores, video_scores
from matrix_train.files import write_json
from schemas.text import one_line

T = TypeVar("T")


def evaluate_files(folder: Path, out: Path) -> dict[str, Any]:
    """What a folder's answers score, written as `scores.json` and a page without sheets; videos go by their video_id.

    A video that was asked about and has no answers is a failed one. UserError as for `score_theirs`, for answers of
    several judges, and for those to other questions than the folder's.
    """
    scores, verified, asked = score_theirs(folder), read_verification(folder), read_questions(folder)
    if not scores:
        raise UserError(f"{folder / VERIFICATION_FILE} holds no video")
    if len(judges := sorted({video.model_used for video in verified.values()})) > 1:
        raise UserError(f"{folder / VERIFICATION_FILE} is by several judges ({', '.join(judges)}): one result has one")
    for video_id in asked.keys() & verified.keys():
        if [i.questions for i in asked[video_id].items] != [i.questions for i in verified[video_id].items]:
            raise UserError(f"{folder}: {video_id} was asked other questions than {QUESTIONS_FOLDER}/ has for it")
    found = {
        "judge": judges[0],
        "videos": len(scores),
        "not_asked": 0,
        "failed": dict.fromkeys(sorted(asked.keys() - scores.keys()), f"no answer in {VERIFICATION_FILE}"),
        "means": {name: mean_of([getattr(one, name) for one in scores.values()]) for name in SCORES},
        "corrected": {}, "bias": {}, "vbench": {}, "measures": {}, "cost": {},
        "theirs": _apart(read_combined(folder), scores) if (folder / COMBINED_FILE).exists() else {},
        "asked": {video_id: digest(asked.get(video_id) or _as_asked(video)) for video_id, video in verified.items()},
        "by_video": {video_id: {name: getattr(one, name) for name in SCORES} for video_id, one in scores.items()},
    }  # fmt: skip
    write_json(out / SCORES_FILE, found)
    write_page(out, found, ())
    return found


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
    found = {}
    for path in sorted((folder / QUESTIONS_FOLDER).glob("*.json")):
        file = _read(path, TypeAdapter(QuestionsFile))
        if file.video_id != path.stem:
            raise UserError(f"{path} is about the video {file.video_id}: give it that name")
        found[file.video_id] = file
    return found


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
        checks = [
            FrameCheck(frame_idx=f.frame_idx, emergence=f.emergence == "yes", disappearance=f.disappearance == "yes")
            for f in persistence[video_id].hallucination_results
        ]
        try:
            scores[video_id] = video_scores([i.question_verification_results for i in video.items], checks)
        except ValueError as error:
            raise UserError(f"{folder}: {video_id}: {error}: have it judged again") from None
    return scores


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
