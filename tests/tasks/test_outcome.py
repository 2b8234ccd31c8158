"""tasks/outcome.py: whatever a clip's work raises can be put on record."""

import asyncio

import pytest

from schemas import Reason, Row, Status, TrackNumbers
from tasks.errors import InfrastructureError, Reject, UserError
from tasks.outcome import settle, settle_async

KEY = "0123456789abcdef"
UNRECORDABLE = ["caf\udce9.mp4", "\ud800", "a\x1b[31mb", "\u202etxt.exe", "a\nb\tc", "x" * 10_000, "\udce9" * 4000]


@pytest.mark.parametrize("text", UNRECORDABLE, ids=ascii)
@pytest.mark.parametrize("make", [lambda t: Reject(Reason.UNREADABLE, t), ValueError, KeyError])
def test_an_error_that_quotes_what_is_no_text_still_makes_a_row(text, make):
    def work():
        raise make(text)

    async def work_async():
        raise make(text)

    for row in (settle(KEY, work), asyncio.run(settle_async(KEY, work_async))):
        assert row.detail.isprintable() and 0 < len(row.detail) <= 4000
        assert row.status is (Status.REJECTED if make(text).__class__ is Reject else Status.FAILED)
        assert Row[TrackNumbers].model_validate_json(row.model_dump_json()) == row


@pytest.mark.parametrize("error", [InfrastructureError("x"), UserError("x"), MemoryError(), OSError("x")])
def test_what_is_not_the_clips_passes_through(error):
    def work():
        raise error

    with pytest.raises(type(error)):
        settle(KEY, work)
