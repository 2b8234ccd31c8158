"""Contact sheets: fewer and smaller images for the same frames, each with its time, in their order."""

import asyncio
import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from tasks.engines.embedded.language import EmbeddedLanguage
from tasks.engines.prompts import load_prompt
from tasks.engines.served.captioner import ServedCaptioner
from tasks.engines.served.images import contact_sheet
from tasks.engines.served.options import CaptionerOptions
from tests.tasks.caption.captioning import make_case
from tests.tasks.engines.served.fault_server import said

FRAMES = np.repeat(np.arange(8, dtype=np.uint8)[:, None, None, None] * 30, 3, axis=3).repeat(120, 1).repeat(180, 2)
TIMES = [0.0, 0.8, 1.7, 2.6, 3.4, 4.3, 5.1, 6.0]


def sent(asked) -> list[np.ndarray]:
    data = (part["image_url"]["url"].partition(",")[2] for part in asked.parts if part["type"] == "image_url")
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in data]


def test_frames_stand_row_by_row_with_their_times():
    sheet = contact_sheet(FRAMES[:3], TIMES[:3], 2, 180)
    assert sheet.shape == (120, 180, 3)
    cells = [sheet[y : y + 60, x : x + 90] for y in (0, 60) for x in (0, 90)]
    assert [int(np.median(cell)) for cell in cells] == [0, 30, 60, 128]  # the last one is left over
    assert all((cell > 180).any() for cell in cells[:3]) and not (cells[3] != 128).any()
    other = contact_sheet(FRAMES[:3], [0.0, 0.8, 1.8], 2, 180)
    assert np.array_equal(other[:60], sheet[:60]) and not np.array_equal(other[60:], sheet[60:])


def described(asked):
    return said(json.dumps({"nonce": asked.document["nonce"], "caption": "A man in a red shirt kicks a blue ball."}))


@pytest.mark.parametrize(("sheet", "images"), [(1, 8), (4, 2), (9, 1), (3, 3)])
def test_fewer_images_and_a_quarter_of_their_pixels(sheet, images, serve, engine):
    server = serve(described)
    captioner = engine(server, ServedCaptioner, sheet=sheet, frame_side=180)
    assert asyncio.run(captioner.describe(FRAMES, TIMES))
    (asked,) = server.asked
    seen = sent(asked)
    assert len(seen) == images and asked.document["frames"] == 8
    assert sum(image.size for image in seen) <= FRAMES.size * images / 8 * 1.01
    if sheet > 1:
        assert asked.document["seconds"] == TIMES and asked.document["sheets"] == images
        assert asked.body["messages"][0]["content"] == load_prompt("v1", "captioner_sheets")


def test_the_stage_tells_when_each_frame_is_and_other_times_are_another_question(serve, engine):
    from tasks.caption.stage import CaptionSettings, caption

    server = serve(described)
    captioner = engine(server, ServedCaptioner, sheet=4)
    case = make_case(1, None)
    settings = CaptionSettings(captioner_frames=3)
    (row,) = caption([case], EmbeddedLanguage(), captioner, settings, lambda _: FRAMES)
    assert row.payload.caption_by == captioner.identity
    wanted = [round(k / case.clip.fps, 2) for k in (0, 4, 7)]
    assert server.asked[0].document["seconds"] == wanted
    for times in (TIMES, [t + 1 for t in TIMES], TIMES):
        asyncio.run(captioner.describe(FRAMES, times))
    assert len(server.asked) == 3  # the last one is kept


def test_a_stage_that_was_begun_before_there_was_a_choice_goes_on(serve, engine):
    assert "sheet" not in CaptionerOptions().declared()
    said_by = {CaptionerOptions(sheet=n).declared() for n in (1, 4, 9)}
    assert len(said_by) == 3
    server = serve(described)
    captioner = engine(server, ServedCaptioner)
    asyncio.run(captioner.describe(FRAMES, TIMES))
    asyncio.run(captioner.describe(FRAMES))
    assert len(server.asked) == 1  # single frames are asked without their times
