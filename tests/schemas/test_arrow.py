"""Every record survives Arrow and Parquet unchanged; what has no lossless Arrow form says so."""

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import schemas
from schemas import Captioned, Curated, MaskRle, Record, Row, Sample, TrackFile
from schemas.arrow import arrow_schema, from_table, to_table
from schemas.dataset import DatasetFile, IndexRow
from schemas.truth import VideoTruth
from tasks.stages import STAGES
from tests.schemas.strategies import records

JSON_ONLY = {TrackFile, MaskRle, DatasetFile}
"""Records with maps or fixed tuples: they live in JSON files."""

PLAIN = sorted(
    {r for r in (*vars(schemas).values(), IndexRow, VideoTruth) if isinstance(r, type) and issubclass(r, Record)}
    - {Record, Row, *JSON_ONLY},
    key=lambda r: r.__name__,
)
ROWS = [Row[spec.record] for spec in STAGES if spec.record]  # type: ignore[valid-type]

quick = settings(
    max_examples=12, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)  # fmt: skip


@pytest.mark.parametrize("model", [*PLAIN, *ROWS], ids=lambda m: m.__name__)
@quick
@given(data=st.data())
def test_round_trip(model: type[Record], data: st.DataObject) -> None:
    given_records = data.draw(st.lists(records(model), max_size=2))
    table = to_table(given_records, model)
    assert table.schema == arrow_schema(model)
    assert from_table(table, model) == given_records
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    assert from_table(pq.read_table(io.BytesIO(buffer.getvalue())), model) == given_records
    assert [model.model_validate_json(r.model_dump_json()) for r in given_records] == given_records


@pytest.mark.parametrize("model", sorted(JSON_ONLY, key=lambda m: m.__name__), ids=lambda m: m.__name__)
@quick
@given(data=st.data())
def test_round_trip_of_what_lives_in_json(model: type[Record], data: st.DataObject) -> None:
    record = data.draw(records(model))
    assert model.model_validate_json(record.model_dump_json()) == record


@pytest.mark.parametrize("model", [*PLAIN, *sorted(JSON_ONLY, key=lambda m: m.__name__)], ids=lambda m: m.__name__)
def test_records_are_frozen_and_closed(model: type[Record]) -> None:
    assert (model.model_config["frozen"], model.model_config["extra"]) == (True, "forbid")


@quick
@given(data=st.data())
def test_what_a_sample_leaves_out_comes_back(data: st.DataObject) -> None:
    sample = data.draw(records(Sample))
    dumped = sample.dump()
    assert Sample.model_validate(dumped) == sample
    assert not any(v in (None, []) for v in dumped.values())


def test_columns_are_typed_and_nullable_where_the_record_is() -> None:
    schema = arrow_schema(Row[Captioned])
    assert schema.field("key").type == pa.string() and not schema.field("key").nullable
    assert schema.field("reason").nullable
    payload = schema.field("payload").type
    assert payload.field("interactions").type.value_type.field("rating").type.field("contact").type == pa.int64()


@pytest.mark.parametrize("model", sorted(JSON_ONLY, key=lambda m: m.__name__), ids=lambda m: m.__name__)
def test_no_lossless_form_is_an_error(model: type[Record]) -> None:
    with pytest.raises(TypeError, match="no Arrow form"):
        arrow_schema(model)


@pytest.mark.parametrize(
    "bad", [{"key": "0" * 16, "status": "accepted", "unknown": 1}, {"key": "x", "status": "failed"}]
)
def test_tables_are_validated_on_the_way_back(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        from_table(pa.Table.from_pylist([bad]), Row[Curated])
