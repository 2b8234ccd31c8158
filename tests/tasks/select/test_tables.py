"""Caption tables as other tools write them, and damage that must stay in its row. Every file is made here."""

import bz2
import gzip
import io
import json
import lzma
import zipfile
from decimal import Decimal

import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.errors import UserError
from tasks.select.sidecar import ColumnMap, SidecarSettings, load_captions

AUTO = SidecarSettings()
WORDS = [f"Caption {n}, a man pushes a box." for n in range(4)]
NAMES = [f"v{n}.mp4" for n in range(4)]
PAIRS = list(zip(NAMES, WORDS, strict=True))
CSV = "video,caption\n" + "".join(f'{name},"{text}"\n' for name, text in PAIRS)


def read(path, data: bytes | str, settings=AUTO):
    """Name, caption and problem of each row."""
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return [(r.name, r.caption, r.problem) for r in load_captions(str(path), settings).rows]


def good(path, data: bytes | str) -> None:
    assert read(path, data) == [(name, text, None) for name, text in PAIRS]


@pytest.mark.parametrize(
    "table",
    [
        CSV.replace(",", ", "),
        CSV.replace('"\n', '",\n'),
        CSV.replace('"\n', '", ,\n').replace("caption\n", "caption,,\n"),
        CSV.replace("\n", "\r\n"),
        CSV.replace("\n", "\r"),
        CSV.rstrip("\n"),
        "\n \n" + CSV.replace("\n", "\n\n") + ",,\n",
        "sep=,\n" + CSV,
        'SEP=;\r\n' + CSV.replace(",", ";", 1).replace(',"', ';"'),
        CSV.replace(",", "|", 1).replace(',"', '|"'),
        "\ufeff" + CSV,
        "\ufeff\ufeff" + CSV.replace("video", '"video"'),
        CSV.replace("video,caption", " Video , CAPTION "),
        ",".join(["", CSV]).replace("\nv", "\n7,v"),
    ],
    ids=["space", "empty_last", "empty_cells", "crlf", "cr", "no_newline", "blank_lines", "sep_comma", "sep_semicolon",
         "pipe", "bom", "boms", "header", "pandas_index"],
)  # fmt: skip
def test_csv_dialects_are_read(tmp_path, table):
    good(tmp_path / "t.csv", table)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "txt"])
def test_other_encodings_are_told_by_their_mark_or_their_zero_bytes(tmp_path, encoding, kind):
    rows = [{"video": name, "caption": text} for name, text in PAIRS]
    texts = {"json": json.dumps(rows), "jsonl": "\n".join(map(json.dumps, rows)), "csv": CSV}
    good(tmp_path / f"t.{kind}", texts.get(kind, CSV.replace(',"', '\t"').replace(",", "\t", 1)).encode(encoding))


def test_bad_bytes_spoil_their_row_only_in_any_encoding(tmp_path):
    lines = CSV.encode("utf-16").replace("1, a".encode("utf-16-le"), b"\x00\xd8" + ", a".encode("utf-16-le"))
    rows = read(tmp_path / "t.csv", lines)
    assert [r[1] for r in rows] == [WORDS[0], None, *WORDS[2:]] and "UTF-8" in rows[1][2]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("name", ["t.csv.{}", "t.csv"])
def test_compressed_tables_are_read_whatever_they_are_called(tmp_path, pack, name):
    ending = {"gzip": "gz", "bz2": "bz2", "lzma": "xz"}[pack.__module__]
    good(tmp_path / name.format(ending), pack(CSV.encode()))


def test_compressed_parquet_and_json_and_folders_of_packed_tables(tmp_path):
    stream = io.BytesIO()
    pq.write_table(pa.table({"video": NAMES, "caption": WORDS}), stream)
    good(tmp_path / "t.parquet.gz", gzip.compress(stream.getvalue()))
    good(tmp_path / "t.json.xz", lzma.compress(json.dumps(dict(PAIRS)).encode()))
    assert len(load_captions(str(tmp_path), AUTO).rows) == 8


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_table_that_does_not_unpack_is_named(tmp_path, pack):
    whole = pack((CSV * 500).encode())
    for data in (whole[: len(whole) // 2], whole[:40] + b"\0\1\2\3" + whole[44:]):
        with pytest.raises(UserError, match=r"t\.csv.* damaged|t\.csv.*cannot be read") as error:
            read(tmp_path / "t.csv", data)
        assert "\n" not in str(error.value)


def test_excel_workbooks_are_named_with_the_way_out(tmp_path):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as book:
        book.writestr("xl/workbook.xml", "<workbook/>")
    for data in (stream.getvalue(), b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)):
        with pytest.raises(UserError, match=r"Excel.*CSV UTF-8"):
            read(tmp_path / "t.xlsx", data)


@pytest.mark.parametrize("orient", ["columns", "index", "records", "split", "table"])
@pytest.mark.parametrize("names", [NAMES, [name[:2] for name in NAMES]])
def test_every_orient_of_pandas_is_read(tmp_path, orient, names):
    frame = pandas.DataFrame({"file_name": names, "caption": WORDS, "frame": [8, 9, 10, 11]}, index=[3, 0, 7, 5])
    rows = read(tmp_path / "t.json", frame.to_json(orient=orient))
    assert rows == [(name, text, None) for name, text in zip(names, WORDS, strict=True)]


def test_pandas_with_names_as_the_index_and_captions_alone(tmp_path):
    frame = pandas.DataFrame({"caption": WORDS, "id": [1, 2, 3, 4]}, index=NAMES)
    good(tmp_path / "t.json", frame.to_json(orient="index"))
    good(tmp_path / "t.json", frame["caption"].to_json())
    good(tmp_path / "t.json", json.dumps({"video": NAMES, "caption": WORDS}))


def test_values_are_read_below_a_header_and_refused_without(tmp_path):
    good(tmp_path / "t.json", json.dumps([["video", "caption"], *PAIRS]))
    with pytest.raises(UserError, match=r"no video column.*v0.mp4"):
        read(tmp_path / "t.json", json.dumps(PAIRS))


def test_a_row_called_two_things_is_marked(tmp_path):
    table = {"3": {"id": 12, "caption": "Which?"}, "4": {"id": 4, "caption": "Four."}}
    (a, b) = read(tmp_path / "t.json", json.dumps(table))
    assert "'3'" in a[2] and "'12'" in a[2] and b == ("4", "Four.", None)


def test_one_row_that_names_its_video_is_not_called_like_its_file(tmp_path):
    row = json.dumps({"video": "a.mp4", "caption": "One."})
    for name in ("captions.json", "captions.jsonl", "captions"):
        assert read(tmp_path / name, row) == [("a.mp4", "One.", None)]


def test_json_under_any_name_is_json(tmp_path):
    rows = [{"video": name, "caption": text} for name, text in PAIRS]
    good(tmp_path / "t.csv", json.dumps(rows))
    good(tmp_path / "t.jsonl", json.dumps(rows, indent=1))
    good(tmp_path / "t.txt", json.dumps(dict(PAIRS), indent=1))
    good(tmp_path / "t.csv", "\n".join(map(json.dumps, rows)))


def test_a_key_that_stands_twice_spoils_its_row(tmp_path):
    (a, b) = read(tmp_path / "t.jsonl", '{"video":"a","caption":"1","caption":"2"}\n{"video":"b","caption":"B."}\n')
    assert a[0] == "a" and a[1] is None and "twice" in a[2] and b[1] == "B."
    assert read(tmp_path / "t.json", '{"a.mp4": "One.", "a.mp4": "Two."}') == [
        ("a.mp4", "One.", None), ("a.mp4", "Two.", None)]  # fmt: skip


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_column_that_stands_twice_is_named(tmp_path, kind):
    path = tmp_path / f"t.{kind}"
    if kind == "csv":
        path.write_text("video,caption,Caption\na.mp4,One.,Two.\n")
    else:
        pq.write_table(pa.table([pa.array(["a"])] * 3, names=["video", "caption", "caption"]), path)
    with pytest.raises(UserError, match=r"'[cC]aption' twice"):
        load_captions(str(path), AUTO)
    (tmp_path / "o.csv").write_text("video,caption,tag,tag\na.mp4,One.,x,y\n")
    assert load_captions(str(tmp_path / "o.csv"), AUTO).rows[0].caption == "One."


BROKEN = [
    'v1.mp4,"A man pushes a box.',  # one too many
    '"v1.mp4,A man pushes a box.',
    '"v1.mp4","A man pushes a box.',
    'v1.mp4,"A man says "stop" and goes.',
    'v1.mp4,"A man, ""pushing"" a box.',
]


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize(
    "after",
    [
        ["v2.mp4,A cat sits.", "v3.mp4,A dog runs."],
        ['v2.mp4,"A cat, sitting."', 'v3.mp4,"A dog runs."'],
        ["v2.mp4,A cat sits.", 'v3.mp4,A dog runs."', 'v4.mp4,"Two, of them."'],
        ['v2.mp4,A cat sits beside a screen of 5"', "v3.mp4,A dog runs."],
        ['v2.mp4,"A cat\nsits, now."', "v3.mp4,A dog runs."],
        [],
    ],
)
def test_a_quote_too_many_costs_its_own_row(tmp_path, broken, after):
    rows = read(tmp_path / "t.csv", "\n".join(["video,caption", "v0.mp4,First.", broken, *after]) + "\n")
    assert rows[0] == ("v0.mp4", "First.", None)
    assert rows[1][:2] == ("v1.mp4", None) and "quotes" in rows[1][2]
    assert [r[0] for r in rows[2:]] == [line.partition(",")[0] for line in after]
    assert all(caption and "\n" not in caption and problem is None for _, caption, problem in rows[2:])
    assert "line 3" in load_captions(str(tmp_path / "t.csv"), AUTO).rows[1].place


@pytest.mark.parametrize("names", [["7", "8", "9"], ["clip_a7", "clip_b8", "clip_c9"]])
@pytest.mark.parametrize("caption_first", [False, True])
def test_it_is_found_for_names_without_endings_and_on_either_side(tmp_path, names, caption_first):
    texts = ['"A man pushes.', "A cat sits.", 'A dog runs."']
    pairs = list(zip(names, texts, strict=True))
    lines = [f"{text},{name}" if caption_first else f"{name},{text}" for name, text in pairs]
    header = "caption,video" if caption_first else "video,caption"
    rows = read(tmp_path / "t.csv", "\n".join([header, *lines]))
    assert [r[0] for r in rows] == names and rows[0][1] is None and rows[1][1] == "A cat sits."


@pytest.mark.parametrize(
    "caption",
    ["A man\npushes a box.", "A man, running,\nlifts it, slowly.", "One.\n\nTwo, three.", 'He says "no",\nand "yes".'],
)
@pytest.mark.parametrize("header", ["video,caption", "caption,video", "video,caption,license"])
def test_captions_over_several_lines_are_whole(tmp_path, caption, header):
    quoted = '"' + caption.replace('"', '""') + '"'
    cells = {"caption": quoted, "license": "MIT"}
    lines = [",".join(cells.get(name, f"v{n}.mp4") for name in header.split(",")) for n in range(3)]
    rows = read(tmp_path / "t.csv", "\n".join([header, *lines]))
    assert rows == [(f"v{n}.mp4", " ".join(caption.split()), None) for n in range(3)]


def test_a_cell_without_an_end_is_given_up_after_some_lines(tmp_path):
    lines = ["video,caption", 'v0.mp4,"Open', *(f"v{n}.mp4,Caption {n}." for n in range(1, 2000))]
    rows = read(tmp_path / "t.csv", "\n".join(lines))
    assert rows[0][1] is None and rows[1:] == [(f"v{n}.mp4", f"Caption {n}.", None) for n in range(1, 2000)]


def test_tsv_has_no_quoting(tmp_path):
    table = 'video\tcaption\nv1.mp4\t"Stop!" says a man.\nv2.mp4\t"A man pushes a box\nv3.mp4\t"A cat sits."\n'
    assert read(tmp_path / "t.tsv", table) == [
        ("v1.mp4", '"Stop!" says a man.', None),
        ("v2.mp4", '"A man pushes a box', None),
        ("v3.mp4", '"A cat sits."', None),
    ]


def test_tsv_of_pandas_loses_the_quotes_that_pandas_added(tmp_path):
    frame = pandas.DataFrame({"video": ["a.mp4", "b.mp4"], "caption": ['"Stop!" says a man.', "A cat sits."]})
    rows = read(tmp_path / "t.tsv", frame.to_csv(sep="\t", index=False))
    assert [r[1] for r in rows] == list(frame["caption"])


def test_a_row_with_too_many_cells_still_names_its_video(tmp_path):
    (row,) = read(tmp_path / "t.csv", "caption,video\nA man, who runs, falls.,v1.mp4\n")
    assert row[0] == "v1.mp4" and "4 cells under 2 columns" in row[2]


def test_tables_without_rows_or_header_are_named(tmp_path):
    for data, words in (("", "empty"), ("\ufeff\n\n", "empty"), ("video,caption\n", "no rows")):
        with pytest.raises(UserError, match=words):
            read(tmp_path / "t.csv", data)
    with pytest.raises(UserError, match="no text"):
        read(tmp_path / "t.csv", b"what\0ever\n")
    with pytest.raises(UserError, match="no caption column"):
        read(tmp_path / "t.csv", "video,words\n")


TYPES = {
    "list": pa.array([[w] for w in WORDS]),
    "large_list": pa.array([[w] for w in WORDS], pa.large_list(pa.string())),
    "dictionary": pa.array(WORDS).dictionary_encode(),
    "string_view": pa.array(WORDS, pa.string_view()),
    "large_string": pa.array(WORDS, pa.large_string()),
    "binary": pa.array([w.encode() for w in WORDS], pa.binary()),
    "large_binary": pa.array([w.encode() for w in WORDS], pa.large_binary()),
}


@pytest.mark.parametrize("kind", TYPES)
def test_parquet_captions_of_any_type_are_read(tmp_path, kind):
    pq.write_table(pa.table({"video": NAMES, "caption": TYPES[kind], "n": [1, 2, 3, 4]}), tmp_path / "t.parquet")
    rows = load_captions(str(tmp_path / "t.parquet"), AUTO).rows
    assert [(r.name, r.caption) for r in rows] == PAIRS


@pytest.mark.parametrize(
    ("videos", "names"),
    [
        (pa.array([{"path": n, "bytes": b""} for n in NAMES]), NAMES),
        (pa.array([{"bytes": bytes(100_000), "path": n} for n in NAMES]), NAMES),
        (pa.array(NAMES, pa.string_view()), NAMES),
        (pa.array([n.encode() for n in NAMES]), NAMES),
        (pa.array(NAMES).dictionary_encode(), NAMES),
        (pa.array([12.0, 13.0, 14.0, 15.5]), ["12", "13", "14", "15.5"]),
        (pa.array([12, 13, 14, 15], pa.int16()), ["12", "13", "14", "15"]),
        (pa.array([Decimal(12), Decimal(13), Decimal(14), Decimal("15.5")]), ["12", "13", "14", "15.5"]),
    ],
    ids=["struct", "embedded", "view", "binary", "dictionary", "float", "int", "decimal"],
)
def test_parquet_names_of_any_type_are_read(tmp_path, videos, names):
    pq.write_table(pa.table({"video": videos, "caption": WORDS}), tmp_path / "t.parquet")
    assert [r.name for r in load_captions(str(tmp_path / "t.parquet"), AUTO).rows] == names


def test_videos_inside_of_parquet_have_no_name(tmp_path):
    for videos in (pa.array([bytes(100_000)] * 4), pa.array([{"path": None, "bytes": b"mp4"}] * 4)):
        pq.write_table(pa.table({"video": videos, "caption": WORDS}), tmp_path / "t.parquet")
        assert {r.problem for r in load_captions(str(tmp_path / "t.parquet"), AUTO).rows} == {"the row names no video"}


def test_bytes_that_are_no_text_inside_of_a_list_spoil_their_row_only(tmp_path):
    inner = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.array([0, 4, 6], pa.int32()).buffers()[1], pa.py_buffer(b"caf\xe9ok")]
    )
    captions = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), inner)
    pq.write_table(pa.table({"video": ["a", "b"], "caption": captions}), tmp_path / "t.parquet")
    a, b = load_captions(str(tmp_path / "t.parquet"), AUTO).rows
    assert "UTF-8" in a.problem and b.caption == "ok"


def test_lists_of_one_are_what_they_hold_and_others_are_marked(tmp_path):
    rows = [(["a"], ["One."]), ("b", ["One.", "Two."]), ("c", [])]
    table = [{"video": video, "caption": caption} for video, caption in rows]
    a, b, c = read(tmp_path / "t.json", json.dumps(table))
    assert a == ("a", "One.", None) and "list of 2" in b[2] and c == ("c", None, None)


def test_empty_cells_of_pandas_are_empty(tmp_path):
    table = '[{"video": 12.0, "caption": NaN}, {"video": NaN, "caption": "Whose?"}]'
    a, b = read(tmp_path / "t.json", table)
    assert a == ("12", None, None) and b[2] == "the row names no video"


def test_own_columns_are_found_in_a_table_of_pandas(tmp_path):
    frame = pandas.DataFrame({"clip": NAMES, "words": WORDS})
    mine = SidecarSettings(columns=ColumnMap(video="clip", caption="words"))
    for orient in ("columns", "index", "split"):
        rows = read(tmp_path / "t.json", frame.to_json(orient=orient), mine)
        assert rows == [(name, text, None) for name, text in PAIRS]


@pytest.mark.parametrize("text", ["\\ud83d", "\\udc80", "\\udfff\\ud800", "\\udce9"])
def test_lone_surrogates_are_never_more_than_a_bad_row(tmp_path, text):
    keys = ("video", "caption", "dataset", "license")
    for key in keys:
        row = {k: (text if k == key else "x") for k in keys}
        table = json.dumps(row).replace("\\\\", "\\")
        (tmp_path / "t.jsonl").write_text(table + "\n")
        (found,) = load_captions(str(tmp_path / "t.jsonl"), AUTO).rows
        for value in (found.name, found.caption, found.dataset, found.license, found.problem, found.place):
            (value or "").encode()
        assert (found.problem is not None) == (key == "caption")
    (tmp_path / "t.json").write_text(f'{{"{text}.mp4": "{text}"}}')
    (found,) = load_captions(str(tmp_path / "t.json"), AUTO).rows
    assert found.name.isprintable() and found.problem
