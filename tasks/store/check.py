"""`matrix_data verify` of a store: parts that cannot be read, what killed runs left, clips that are gone.

Every finding is a `Problem`, one printable line. A file that cannot be read is a finding, never an error.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from schemas.text import one_line
from tasks.errors import InfrastructureError, UserError
from tasks.store.database import ENDING, damage_of
from tasks.store.folder import TEMPORARY, Folder, is_name
from tasks.store.parts import TORN, DamagedPart, open_part, read_through

DAMAGE = (
    ValidationError,
    ValueError,
    OSError,
    pa.ArrowException,
    MemoryError,
    RecursionError,
    OverflowError,
)
"""What reading damaged data raises. json.JSONDecodeError, UnicodeDecodeError and av's errors are among these."""


@dataclass(frozen=True)
class Problem:
    """Something wrong with `file`, a name below the folder; `key` is the clip_id where one entry is meant."""

    file: str
    message: str
    key: str = ""

    def __str__(self) -> str:
        where = f"{self.file} {self.key}".strip()
        return one_line(f"{where}: {self.message}", 500)


def verify_store(work: Folder) -> list[Problem]:
    """Problems of a stage store (`work/<stage>/<fingerprint>/<chunk>/*.parquet`): torn parts, stray and set-aside ones,
    normalised clips that are gone, and kept replies that cannot be read."""
    problems = []
    for name, _ in work.walk():
        base = name.rsplit("/", 1)[-1]
        if not is_name(name):  # of somebody else's file
            continue
        if base.startswith(TEMPORARY):
            problems.append(Problem(name, "temporary file of a run that was killed; `matrix_data gc` removes it"))
        elif base.startswith(TORN) and ENDING in base:
            problems.append(Problem(name, "replies that were set aside as damaged; `matrix_data gc` removes them"))
        elif base.startswith(TORN):
            problems.append(
                Problem(name, "part that was set aside as torn; its clips are done again by the next build")
            )
        elif base.endswith(".parquet"):
            problems += _part(work, name)
        elif base.endswith(ENDING):
            problems += _replies(work, name)
    return problems


def _replies(work: Folder, name: str) -> Iterator[Problem]:
    try:
        if damage := damage_of(work, name):
            yield Problem(name, f"replies that are damaged ({damage}): the next build sets them aside and asks again")
    except FileNotFoundError:  # gathered meanwhile
        return
    except (InfrastructureError, OSError) as error:
        yield Problem(name, f"could not be read now, which says nothing of the replies: {one_line(error, 200)}")


def _part(work: Folder, name: str) -> Iterator[Problem]:
    folder, _, base = name.rpartition("/")
    try:
        with open_part(work.below(folder), base, None) as part:
            read_through(part)
            if name.startswith("ingest/"):
                yield from _clips(work, name, part)
    except (DamagedPart, UserError) as error:
        yield Problem(name, str(error))
    except (InfrastructureError, OSError) as error:
        yield Problem(name, f"could not be read now, which says nothing of the part: {one_line(error, 200)}")


def _clips(work: Folder, name: str, part: pq.ParquetFile) -> Iterator[Problem]:
    """Clips that a part of ingest has on record and that are no longer there."""
    for rows in part.iter_batches(columns=["payload.clips.list.element.path"]):
        for payload in rows.column("payload").to_pylist():
            for clip in payload["clips"] if payload else ():
                if not work.exists(clip["path"]):
                    yield Problem(name, f"{clip['path']} is gone: the next build makes it again when it is needed")
