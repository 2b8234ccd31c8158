"""Batches without end, from any position on, read ahead by worker processes.

with open_stream(config.data, "train", tokenizer, grid, batch_size=1, seed=0, position=0) as stream:
    for batch in stream: ...        # stream.state() goes into the checkpoint
"""

import multiprocessing
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Annotated, Any, Self

import numpy as np
import torch
from pydantic import Field
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast
from typing_extensions import TypedDict  # pydantic does not take typing's before Python 3.12

from matrix_train.attention.grid import Grid
from matrix_train.data.batch import Batch, Collate
from matrix_train.data.config import DataConfig, Split
from matrix_train.data.dataset import GaveUp, MatrixDataset
from matrix_train.data.entry import BadEntry, BadReason
from matrix_train.data.plan import Plan, Ref
from matrix_train.errors import UserError

NAMED = 5
"""Bad entries named in the error that ends a run."""


@dataclass(frozen=True)
class _Positions:
    """Batches of refs from a position on, for the DataLoader."""

    plan: Plan
    start: int

    def __iter__(self) -> Iterator[list[Ref]]:
        position = self.start
        while True:
            yield self.plan.batch(position)
            position += 1


class StreamState(TypedDict):
    """A stream's part of a checkpoint, as plain data."""

    position: Annotated[int, Field(ge=0)]
    """Batches taken so far: where the next stream goes on."""
    dataset: str
    """`Listing.identity`: what the samples are, and in which order they come."""
    samples: Annotated[int, Field(ge=0)]
    skips: dict[str, int]
    bad: list[tuple[str, str, BadReason, str]]
    """The fields of every `BadEntry`."""
    seen: Annotated[str, Field(pattern=r"^([0-9a-f]{2})*$")]
    """One bit a key, packed, in hex."""


class BatchStream(Iterator[Batch]):
    """This rank's batches in the order of the plan, epoch after epoch. Close it, or use it as a context manager.

    `bad` holds every bad entry met, by key; `skips` counts interactions passed over. Where bad keys are more than
    `max_bad_share` of the keys seen, iteration raises UserError: as soon as that many keys have been seen that one bad
    entry is within the share, at the latest at the end of an epoch.
    """

    def __init__(self, dataset: MatrixDataset, grid: Grid, position: int = 0, pin: bool = False) -> None:
        """pin: page-locked batches, for a GPU."""
        self.dataset, self.plan, self.position = dataset, dataset.plan, position
        self.bad: dict[str, BadEntry] = {}
        self.skips: Counter[str] = Counter()
        self.samples = 0
        self._seen: set[str] = set()
        workers = dataset.config.workers
        self._loader = DataLoader(
            dataset,
            batch_sampler=_Positions(self.plan, position),
            num_workers=workers,
            collate_fn=Collate(grid.frames, grid.height, grid.width),
            # A forked copy of a process with threads (OpenMP, CUDA, tokenizers) may hang; the fork server has none.
            multiprocessing_context=_fork_server() if workers else None,
            worker_init_fn=let_one_pass if workers else None,
            pin_memory=pin,
            # The loader draws a seed for its workers: not from the generator that training draws from.
            generator=torch.Generator(),
        )
        self._batches: Iterator[Batch | GaveUp] | None = iter(self._loader)

    def __next__(self) -> Batch:
        if self._batches is None:
            raise RuntimeError("the stream is closed")
        batch = next(self._batches)
        self._seen.update(entry.key for entry in batch.bad)
        self.bad.update({entry.key: entry for entry in batch.bad})
        if isinstance(batch, GaveUp):
            self.close()
            raise UserError(batch.message or self._too_bad())
        self._seen.update(batch.keys)
        self.skips.update(batch.skips)
        self.samples += len(batch.keys)
        self.position = batch.position + 1
        share = self.dataset.config.max_bad_share
        judged = len(self._seen) * share >= 1 or self.position % self.plan.batches_per_epoch == 0 or share == 0
        if judged and len(self.bad) > share * len(self._seen):
            self.close()
            raise UserError(self._too_bad())
        return batch

    def state(self) -> StreamState:
        """For this rank's checkpoint: the position to go on from and the counters so far."""
        return {
            "position": self.position,
            "dataset": self.dataset.identity,
            "samples": self.samples,
            "skips": dict(self.skips),
            "bad": [(entry.key, entry.shard, entry.reason, entry.detail) for entry in self.bad.values()],
            "seen": np.packbits([key in self._seen for key in self.plan.keys]).tobytes().hex(),
        }

    def restore(self, state: StreamState) -> None:
        """Takes over the counters of a stream that ended where this one begins.

        UserError where the dataset has changed, for then the order is another, and for another position.
        """
        if state["dataset"] != self.dataset.identity:
            raise UserError(
                f"{self.dataset.source.url} has changed since the checkpoint was written: its samples are others, so "
                "the run cannot go on exactly; start a new run"
            )
        if state["position"] != self.position:
            raise UserError(
                f"the checkpoint's data stands at batch {state['position']} and its step at {self.position}: it is "
                "damaged, delete it to resume from the one before"
            )
        self.samples, self.skips = state["samples"], Counter(state["skips"])
        self.bad = {entry[0]: BadEntry(*entry) for entry in state["bad"]}
        seen = np.unpackbits(np.frombuffer(bytes.fromhex(state["seen"]), np.uint8))
        self._seen = {key for key, bit in zip(self.plan.keys, seen, strict=False) if bit}

    def close(self) -> None:
        """Ends the workers. Safe to repeat."""
        self._batches = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _too_bad(self) -> str:
        reasons = Counter(entry.reason for entry in self.bad.values())
        counts = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        named = "; ".join(str(entry) for entry in list(self.bad.values())[:NAMED])
        more = f"; and {len(self.bad) - NAMED} more" if len(self.bad) > NAMED else ""
        return (
            f"{len(self.bad)} of {len(self._seen)} entries seen are bad ({counts}); the limit is "
            f"data.max_bad_share={self.dataset.config.max_bad_share:g}: {named}{more}"
        )


def open_stream(
    config: DataConfig,
    split: Split,
    tokenizer: PreTrainedTokenizerFast,
    grid: Grid,
    batch_size: int = 1,
    seed: int = 0,
    rank: int = 0,
    world: int = 1,
    position: int = 0,
    pin: bool = False,
    decode_video: bool = True,
) -> BatchStream:
    """The stream of one rank. grid: of the backbone, for this clip size. UserError as `MatrixDataset`."""
    dataset = MatrixDataset(config, split, tokenizer, seed, batch_size, world, rank, decode_video)
    return BatchStream(dataset, grid, position, pin)


def _fork_server() -> Any:
    """Workers fork from a process that has imported this package and nothing else has happened in."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["matrix_train.data.loader"])
    return context


def let_one_pass(worker: int = 0) -> None:  # noqa: ARG001
    """In a data worker: Ctrl-C and a scheduler's signal go to every process of a group, but the training process asks
    its workers to end by itself. Without them its step could not be finished."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _: signal.signal(number, signal.SIG_DFL))
