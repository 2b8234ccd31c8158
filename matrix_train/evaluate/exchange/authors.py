"""The authors' JSON files as we write them, so that their scripts go on from our results; read by `reading.py`.

Field names as in `InterGenEval/` of the public repository cvlab-kaist/MATRIX at 61328c0; which are assumed is said in
docs/training/evaluate.md. Their files carry more than scores need: unknown fields are read over, those that their
scripts read are all written.

questions/<video_id>.json         a `QuestionsFile`, one a video (their question_generation.py)
question_verification.json        a list of `VerifiedVideo` (question_verification.py)
_emergence_disappearance.json     a list of `PersistenceVideo` (emergence_disappearance.py)
combined_scores_summary.json      model → data type → video_id → `Combined` (calculate_combined_scores.py)
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from matrix_train.errors import UserError
from matrix_train.evaluate.protocol.prompt import Prompt
from matrix_train.evaluate.protocol.questions import questions_of
from matrix_train.evaluate.protocol.scores import Answer, FrameCheck, VideoScores
from matrix_train.files import write_json
from schemas.palette import colour_name

JUDGED_FOLDER = "judged"
"""Of our own rows, beside the authors' files in every result of ours."""

QUESTIONS_FOLDER = "questions"
VERIFICATION_FILE = "question_verification.json"
PERSISTENCE_FILE = "_emergence_disappearance.json"
COMBINED_FILE = "combined_scores_summary.json"


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


def digest(asked: QuestionsFile) -> str:
    """Of all that a video was asked about, whatever its name: two results are paired where it is the same."""
    return hashlib.sha256(asked.model_dump_json(exclude={"video_id"}).encode()).hexdigest()[:12]


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
    """What is asked of these videos; what was asked of others goes, that nobody may wait for their answers."""
    own = {folder / QUESTIONS_FOLDER / f"{prompt.video_id}.json": prompt for prompt in prompts}
    for path, prompt in own.items():
        write_json(path, questions_file(prompt))
    for path in set((folder / QUESTIONS_FOLDER).glob("*.json")) - own.keys():
        path.unlink()


def check_place(out: Path) -> None:
    """UserError where these files are there and no run of ours has written them: they would be lost."""
    names = (QUESTIONS_FOLDER, VERIFICATION_FILE, PERSISTENCE_FILE, COMBINED_FILE)
    if not (out / JUDGED_FOLDER).is_dir() and (theirs := [name for name in names if (out / name).exists()]):
        raise UserError(f"--out {out}: {theirs[0]} there is of no run of this command: give another place")


def summary(model: str, kind: str, scores: Mapping[str, tuple[str, VideoScores]]) -> dict[str, Any]:
    """What COMBINED_FILE holds for one model and data type: video_id → (prompt, scores)."""
    return {model: {kind: {video_id: combined(prompt, found) for video_id, (prompt, found) in scores.items()}}}
