"""Finished datasets in the browser: filters, counts, sorting, two side by side, and no more read than is shown."""

import io
import json
import re
import shutil

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from schemas.palette import colour
from schemas.review import REVIEW_FILE
from tasks.dataset.reader import DatasetError, read_parts
from tasks.errors import UserError
from tasks.media.clips import decode_mask, read_frames
from tasks.store.folder import Folder
from tests.builders import make_case, make_dataset
from tests.labels import write_labels
from web.explore import as_json, create_app
from web.samples import Samples, Wanted

BAD = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("explore")
    store = Folder(str(root / "work"))
    cases = [make_case(store, seed, things=1 + seed % 2, frames=5, note=BAD if seed == 1 else "") for seed in range(8)]
    return make_dataset(root, cases)


@pytest.fixture(scope="module")
def samples(folder):
    return Samples(folder)


@pytest.fixture(scope="module")
def client(samples):
    return TestClient(create_app([samples, samples], ("testserver",)))


def keys(samples, **wanted):
    return [row.key for row in samples.rows(samples.find(Wanted(**wanted)))]


def test_filters_are_those_of_a_loop_over_the_rows(samples):
    rows = samples.rows(np.arange(len(samples)))
    assert keys(samples) == sorted(row.key for row in rows) and len(rows) == 8
    some = {
        "verb": lambda r: "lifts" in r.verbs, "noun": lambda r: "ball" in r.nouns, "ids": lambda r: r.instances == 3,
        "source": lambda r: r.dataset == "hoigen", "split": lambda r: r.split == "train",
        "text": lambda r: "RED" in r.caption.upper(), "contact": lambda r: 4 in r.contact,
    }  # fmt: skip
    given = {
        "verb": "lifts",
        "noun": "ball",
        "ids": 3,
        "source": "hoigen",
        "split": "train",
        "text": "RED",
        "contact": 4,
    }
    for name, holds in some.items():
        wanted = [row.key for row in rows if holds(row)]
        assert keys(samples, **{name: given[name]}) == wanted and wanted, name
    both = [row.key for row in rows if (3, 2) in zip(row.contact, row.dynamism, strict=True)]
    assert keys(samples, contact=3, dynamism=2) == both, "the cell is of one interaction"
    assert keys(samples, side_from=0.21) == [] and len(keys(samples, side_from=0.1, side_to=0.3)) == 8


def test_sorting_and_counting(samples):
    most = [max(row.contact) for row in samples.rows(samples.find(Wanted(sort="contact", down=True)))]
    assert most == sorted(most, reverse=True) and len(set(most)) > 1
    counts = samples.counts(samples.find(Wanted(ids=3)))
    assert counts["ids"] == [(3, 4)] and sum(map(sum, counts["cells"])) == 8
    assert dict(counts["verbs"]) == dict(samples.counts(samples.find(Wanted(ids=3)))["verbs"])


def test_the_page_has_cells_as_links_and_both_sides(client, samples):
    page = client.get("/").text
    assert page.count("/a/sample/") == page.count("/b/sample/") == 8
    cell = re.search(r'href="(http://testserver/\?[^"]*contact=3[^"]*)"', page)[1].replace("&amp;", "&")
    assert 0 < client.get(cell).text.count("/a/sample/") < 8
    assert BAD not in page and "&lt;script&gt;" in page
    assert client.get("/", params={"sort": "nonsense"}).status_code == 422
    assert client.get("/", params={"contact": "x"}).status_code == 422


def test_a_sample_has_its_link_and_only_its_own_bytes_are_read(client, samples, monkeypatch):
    key = keys(samples)[0]
    assert client.get(f"/a/sample/{key}").status_code == 200
    found, (sample, tracks, _) = client.get(f"/a/api/{key}").json(), samples.entry(key)
    assert (
        found == json.loads(json.dumps(as_json(sample, tracks, ())))
        and found["tracks"][0]["masks"][0] == tracks.tracks["id1"][0].counts
    )
    read = 0
    real = Folder.open

    def counting(self, name):
        stream = real(self, name)

        class Counted:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                stream.close()

            def seek(self, place):
                return stream.seek(place)

            def read(self, size):
                nonlocal read
                read += size
                return stream.read(size)

        return Counted()

    monkeypatch.setattr(Folder, "open", counting)
    mp4 = samples.mp4(key)
    assert len(mp4) <= read <= len(mp4) + 5 * 512
    read = 0
    samples.first(key)
    assert read <= samples.row(key).bytes, "of one sample, whatever else the shard has"


def test_a_result_has_a_small_picture_of_its_first_frame_with_its_masks(client, samples):
    key = keys(samples)[0]
    assert re.search(
        rf'<img src="/a/thumb/{key}\.jpg"[^>]* loading="lazy"[^>]* width="144" height="96"', client.get("/").text
    )
    answer = client.get(f"/a/thumb/{key}.jpg")
    seen = np.asarray(Image.open(io.BytesIO(answer.content)), dtype=float)
    frame, tracks = samples.first(key)
    assert answer.headers["content-type"] == "image/jpeg" and seen.shape == frame.shape == (96, 144, 3)
    assert (frame == read_frames(io.BytesIO(samples.mp4(key)))[0]).all()
    masks = {name: decode_mask(track[0].counts, *tracks.size) for name, track in tracks.tracks.items()}
    ends = []
    for name, mask in masks.items():
        others = np.any([other for who, other in masks.items() if who != name], axis=0)
        alone = cv2.erode((mask & ~others).astype(np.uint8), np.ones((9, 9))).astype(bool)
        tinted = 0.6 * frame[alone] + 0.4 * np.array(colour(name))
        ends.append([np.abs(one - tinted).mean() for one in (seen[alone], frame[alone])])
    tinted, plain = zip(*ends, strict=True)
    assert max(tinted) < 10 < max(plain), "a figure may have its ID's colour by itself, two cannot"


@pytest.mark.parametrize("suffix", ["mp4", "tracks.json"])
def test_a_damaged_sample_has_no_picture_and_takes_nothing_else_along(folder, samples, tmp_path, suffix):
    there, key = Folder(str(shutil.copytree(folder.uri, tmp_path / "torn"))), keys(samples)[0]
    shard = samples.row(key).shard
    (part,) = read_parts(there, [samples.row(key)], (suffix,))
    there.write(shard, there.read(shard).replace(part[suffix], part[suffix].translate(bytes(range(1, 256)) + b"x")))
    client = TestClient(create_app([Samples(there)], ("testserver",)))
    answer = client.get(f"/a/thumb/{key}.jpg")
    assert answer.status_code == 503 and f"sample {key} is damaged" in answer.json()["detail"]
    assert client.get("/").status_code == client.get(f"/a/thumb/{keys(samples)[1]}.jpg").status_code == 200


def test_a_bucket_is_read_as_a_folder_is(samples, folder):
    bucket = Folder("memory://explored/dataset")
    for name in folder.names():
        bucket.write(name, folder.read(name))
    there, key = Samples(bucket), keys(samples)[0]
    assert keys(there) == keys(samples) and there.entry(key) == samples.entry(key)
    assert there.mp4(key) == samples.mp4(key)


def test_what_people_said_since_is_what_is_shown(folder, samples, client, tmp_path):
    there = Folder(str(shutil.copytree(folder.uri, tmp_path / "said")))
    big, gone = keys(samples, ids=3)[0], keys(samples, ids=2)[0]
    write_labels(there, {big: {"id1": "fix", "id2": "drop"}, gone: {"id1": "drop"}})
    said = Samples(there)
    assert (keys(said, people="kept"), keys(said, people="dropped")) == ([big], [gone])
    assert keys(said) == keys(samples) and said.row(big).ids == ("id1", "id3") and samples.row(big).instances == 3
    without, client = client, TestClient(create_app([said], ("testserver",)))
    tracks = client.get(f"/a/api/{big}").json()["tracks"]
    assert next((t["id"], t["review"], t["masks"][0]) for t in tracks) == ("id1", "fix by ann", None)
    assert [t["id"] for t in tracks] == ["id1", "id3"]
    assert client.get(f"/a/api/{gone}").json()["tracks"][0]["review"] == "drop drift by ann"
    assert "People have dropped it" in client.get(f"/a/sample/{gone}").text
    assert "people=dropped" in client.get("/").text and "people=dropped" not in without.get("/").text
    write_labels(there, {})
    assert keys(Samples(there), people="nobody") == keys(samples)
    there.write(REVIEW_FILE, b"PAR1")
    with pytest.raises(DatasetError, match=r"review\.parquet is damaged"):
        Samples(there)


def test_video_is_served_by_range(client, samples):
    key = keys(samples)[0]
    whole = client.get(f"/a/media/{key}.mp4")
    part = client.get(f"/a/media/{key}.mp4", headers={"range": "bytes=4-"})
    assert (part.status_code, part.content) == (206, whole.content[4:])
    assert part.headers["content-range"] == f"bytes 4-{len(whole.content) - 1}/{len(whole.content)}"
    assert client.get(f"/a/media/{key}.mp4", headers={"range": "bytes=99999999-"}).status_code == 416


@pytest.mark.parametrize("path", ["/a/sample/{}", "/a/api/{}", "/a/media/{}.mp4", "/a/thumb/{}.jpg", "/c/api/{}"])
@pytest.mark.parametrize("key", ["0" * 16, "../../dataset.json", "..%2f..%2fdataset.json", "A" * 16])
def test_no_name_leads_out_of_the_index(client, path, key):
    assert client.get(path.format(key)).status_code in (404, 422)


def test_what_is_no_dataset_or_a_damaged_one(folder, tmp_path):
    with pytest.raises(UserError, match=r"no dataset\.json"):
        Samples(Folder(str(tmp_path)))
    for name in ("dataset.json", "index.parquet"):
        Folder(str(tmp_path)).write(name, folder.read(name))
    Folder(str(tmp_path)).write("index.parquet", folder.read("index.parquet")[:-9])
    with pytest.raises(DatasetError, match="not the file"):
        Samples(Folder(str(tmp_path)))
