"""What a finished build shows in Prefect's UI, as the server has it."""

import base64
import io
import re

import httpx
import pytest
from PIL import Image

from flows.context import Context
from flows.opened import context_of
from flows.result import result_of
from flows.server.events import key_of
from flows.summary import CLIPS, summary
from flows.tally import by_machine

pytestmark = pytest.mark.slow


@pytest.fixture
def artifacts(server, built):
    """The newest of each key that ends with the dataset's."""
    with httpx.Client(base_url=server["PREFECT_API_URL"], timeout=60) as api:
        found = api.post("/artifacts/latest/filter", json={}).raise_for_status().json()
    ending = f"-{key_of(str(built))}"
    return {one["key"].removesuffix(ending): one for one in found if (one["key"] or "").endswith(ending)}


def test_the_summary_holds_pictures_and_where_things_are(artifacts, built):
    told = artifacts["summary"]["data"]
    assert f"`{built}/report.html`" in told and f"`{built}/dataset/" in told
    pictures = re.findall(r"!\[clip [0-9a-f]+\]\(data:image/jpeg;base64,([^)]+)\)", told)
    assert 1 <= len(pictures) <= CLIPS
    for picture in pictures:
        image = Image.open(io.BytesIO(base64.b64decode(picture)))
        assert image.width > 800
    assert len(told) < 500_000
    assert "| caption |" in told, "who has done it"


def test_every_stage_has_a_bar_and_every_machine_its_line(artifacts, built):
    funnel = context_of(str(built)).funnel()
    for line in funnel:
        assert artifacts[f"progress-{line.stage}"]["type"] == "progress"
        assert float(artifacts[f"progress-{line.stage}"]["data"]) == 100.0
        assert (
            artifacts[f"progress-{line.stage}"]["description"] == f"{line.stage}: {line.arrived} of {line.arrived} done"
        )
    table = by_machine(funnel)
    assert [row["stage"] for row in table] == [line.stage for line in funnel], "one machine has done it all"
    assert all(row["done"] == line.arrived for row, line in zip(table, funnel, strict=True))
    assert all(0 <= row["busy"] <= 1 and row["per_second"] > 0 for row in table), table
    assert all(row["busy"] for row in table if row["stage"] != "review"), "whose clips take microseconds"
    assert '"stage": "track"' in artifacts["machines"]["data"]


def test_of_a_bucket_or_an_empty_build_it_can_be_told_too(built):
    context = context_of(str(built))
    survey = context.survey()
    lines = survey.funnel()
    result = result_of(context, lines, 0.0).model_copy(
        update={"dataset": None, "report": "https://host/a|b/report.html"}
    )
    nothing = [line.model_copy(update={"machines": ()}) for line in lines]
    told = summary(context, survey, nothing, result)
    assert "none: no clip was accepted" in told and "[https://host/a&#124;b/report.html](https://host/a|b/" in told
    assert "| machine |" not in told
    review = context.settings.review.model_copy(update={"url": "http://reviewers.example/"})
    waits = Context(context.settings.model_copy(update={"review": review}), context.fingerprints)
    held = [line.model_copy(update={"pending": 2}) if line.stage == "review" else line for line in lines]
    assert "decide on | 2: [http://reviewers.example/](http://reviewers.example/) |" in summary(
        waits, survey, held, result
    )
