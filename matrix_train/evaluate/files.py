"""The authors' JSON files, read and written, so that their scripts go on from our results and ours from theirs.

Field names as in `InterGenEval/` of the public repository cvlab-kaist/MATRIX at 61328c0; which are assumed is said in
docs/training/evaluate.md. Their files carry more than scores need: unknown fields are read over, those that their
scripts read are all written.

questions/<video_id>.json         a `QuestionsFile`, one a video (their question_generation.py)
question_verification.json        a list of `VerifiedVideo` (question_verification.py)
_emergence_disappearance.json     a list of `PersistenceVideo` (emergence_disappearance.py)
combined_scores_summary.json      model → data type → video_id → `Combined` (calculate_combined_scores.py)
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from matrix_train.errors import UserError
from matrix_train.evaluate.protocol import Prompt
from matrix_train.evaluate.questions import questions_of
from matrix_train.evaluate.scores import Answer, FrameCheck, VideoScores, video_scores
from schemas.palette import colour_name

QUESTIONS_FOLDER = "questions"
VERIFICATION_FILE = "question_verification.json"
PERSISTENCE_FILE = "_emergence_disappearance.json"
COMBINED_FILE = "combined_scores_summary.json"

T = TypeVar("T")


class _Theirs(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class QuestionItem(_Theirs):
    key_interaction: str
    questions: tuple[str, ...]


class QuestionsFile(_Theirs):
    """`entity`, `appearance` and `colors` are parallel."""

    video_id: str
    prompt: str
    entity: tuple[str, ...]
    appearance: tuple[str, ...]
    colors: tuple[str, ...]
    items: tuple[QuestionItem, ...]


class VerifiedItem(_Theirs):
    item_index: int
    key_interaction: str
    questions: tuple[str, ...]
    question_verification_results: tuple[Answer, ...]


class VerifiedVideo(_Theirs):
    video_id: str
    prompt: str
    frames_analyzed: int
    frame_indices: tuple[int, ...]
    model_used: str
    items: tuple[VerifiedItem, ...]


YesNo = Literal["yes", "no"]


class PersistenceFrame(_Theirs):
    """Theirs may also say "error" for a frame: such a file is refused here, since it would be scored as a no."""

    frame_idx: int
    emergence: YesNo
    disappearance: YesNo
    emergence_reason: str = ""
    disappearance_reason: str = ""


class PersistenceVideo(_Theirs):
    """`frames_analyzed` counts frame 0 too, `hallucination_results` are the frames after it."""

    video_id: str
    prompt: str
    entity: tuple[str, ...]
    colors: tuple[str, ...]
    frames_analyzed: int
    model_used: str
    hallucination_results: tuple[PersistenceFrame, ...]


class Combined(_Theirs):
    """SGA is SGI under its name in their code; the first two are raw scores."""

    prompt: str
    KISA_score: float
    SGA_score: float
    SPI_score: float
    KISA_SPI: float
    SGA_SPI: float
    IF_score: float


def questions_file(prompt: Prompt) -> QuestionsFile:
    items = (QuestionItem(key_interaction=act.text, questions=questions_of(prompt, act)) for act in prompt.interactions)
    return QuestionsFile(
        video_id=prompt.video_id, prompt=prompt.prompt, entity=tuple(i.cls for i in prompt.instances),
        appearance=tuple(i.appearance for i in prompt.instances),
        colors=tuple(colour_name(i.id) for i in prompt.instances), items=tuple(items),
    )  # fmt: skip


def digest(prompt: Prompt) -> str:
    """Of all that a video was asked about: two results are paired where it is the same."""
    return hashlib.sha256(questions_file(prompt).model_dump_json().encode()).hexdigest()[:12]


def verified_video(
    prompt: Prompt, answers: Sequence[Sequence[Answer]], frames: Sequence[int], judge: str
) -> VerifiedVideo:
    """answers: per key interaction of the prompt. frames: those that were looked at, frame 0 among them."""
    items = [
        VerifiedItem(
            item_index=index, key_interaction=act.text, questions=questions_of(prompt, act),
            question_verification_results=tuple(said),
        )
        for index, (act, said) in enumerate(zip(prompt.interactions, answers, strict=True))
    ]  # fmt: skip
    return VerifiedVideo(
        video_id=prompt.video_id, prompt=prompt.prompt, frames_analyzed=len(frames), frame_indices=tuple(frames),
        model_used=judge, items=tuple(items),
    )  # fmt: skip


def persistence_video(prompt: Prompt, checks: Sequence[FrameCheck], judge: str) -> PersistenceVideo:
    return PersistenceVideo(
        video_id=prompt.video_id, prompt=prompt.prompt, entity=tuple(i.cls for i in prompt.instances),
        colors=tuple(colour_name(i.id) for i in prompt.instances), frames_analyzed=len(checks) + 1, model_used=judge,
        hallucination_results=tuple(
            PersistenceFrame(
                frame_idx=c.frame_idx, emergence="yes" if c.emergence else "no",
                disappearance="yes" if c.disappearance else "no",
                emergence_reason=c.emergence_reason, disappearance_reason=c.disappearance_reason,
            )
            for c in checks
        ),
    )  # fmt: skip


def combined(prompt: str, scores: VideoScores) -> Combined:
    return Combined(
        prompt=prompt, KISA_score=scores.kisa_raw, SGA_score=scores.sgi_raw, SPI_score=scores.spi,
        KISA_SPI=scores.kisa, SGA_SPI=scores.sgi, IF_score=scores.if_score,
    )  # fmt: skip


def write_questions(folder: Path, prompts: Sequence[Prompt]) -> None:
    for prompt in prompts:
        write_json(folder / QUESTIONS_FOLDER / f"{prompt.video_id}.json", questions_file(prompt))


def write_json(path: Path, data: Any) -> None:
    """Records, lists and tables of them. The file is whole or as before."""
    write_text(path, [_json(data)])


def write_list(path: Path, records: Iterable[Any]) -> None:
    """A list of records, of which one is held at a time. As `write_json`."""
    write_text(path, (f"{',' if k else '['}\n{_json(record)}" for k, record in enumerate(records)), "\n]")


def write_text(path: Path, parts: Iterable[str], end: str = "") -> None:
    """The file is whole or as before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        file.writelines(parts)
        file.write(end)
    part.replace(path)


def _json(data: Any) -> str:
    return json.dumps(TypeAdapter(Any).dump_python(data, mode="json"), ensure_ascii=False, indent=2)


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


def read_combined(path: Path) -> dict[str, dict[str, dict[str, Combined]]]:
    """model → data type → video_id → scores."""
    return _read(path, TypeAdapter(dict[str, dict[str, dict[str, Combined]]]))


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
        first = error.errors()[0]
        raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def summary(model: str, kind: str, scores: Mapping[str, tuple[str, VideoScores]]) -> dict[str, Any]:
    """What COMBINED_FILE holds for one model and data type: video_id → (prompt, scores)."""
    return {model: {kind: {video_id: combined(prompt, found) for video_id, (prompt, found) in scores.items()}}}
