"""Keys of datasets in events and artifacts."""

import re

from flows.server.events import key_of


def test_every_dataset_has_a_key_of_its_own_that_prefect_takes():
    places = ["s3://bucket/out", "s3://bucket-out", "/data/Ünïcode", "/data/" + "x" * 500, "out", "OUT", "/"]
    keys = [key_of(place) for place in places]
    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", key) and len(key) <= 50 for key in keys)
    assert key_of("s3://bucket/out") == key_of("s3://bucket/out") and key_of("out").startswith("out-")
