"""A user's mistakes: one line that says what to do, exit code 2, no traceback, nothing written elsewhere."""

import os
import shutil
import socket
import subprocess
import sys

import pytest

from flows import cli
from tests.flows.building import QUICK, sidecar


def one_line(ended, *words):
    assert ended.code == 2, ended
    assert "Traceback" not in ended.errors
    errors = [line for line in ended.errors.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and ended.errors.rstrip().endswith(errors[0]), ended.errors
    for word in words:
        assert word in errors[0]


def test_a_source_that_is_not_there(matrix_data, tmp_path):
    one_line(matrix_data("build", tmp_path / "nowhere", "--out", tmp_path / "out"), "nowhere")


def test_a_folder_without_videos(matrix_data, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "notes.txt").write_text("no video")
    one_line(matrix_data("build", tmp_path / "raw", "--out", tmp_path / "out"), "no video files", ".mp4")


def test_an_unknown_setting(matrix_data, tmp_path):
    ended = matrix_data("build", tmp_path, "--out", tmp_path / "out", "--set", "propose.sampels=3")
    one_line(ended, "propose.sampels", "unknown setting")


def test_a_setting_of_the_wrong_kind(matrix_data, tmp_path):
    one_line(matrix_data("build", tmp_path, "--out", tmp_path / "out", "--set", "run.workers=many"), "run.workers")


def test_a_set_without_a_value(matrix_data, tmp_path):
    one_line(matrix_data("build", tmp_path, "--out", tmp_path / "out", "--set", "workers"), "section.name=value")


def test_an_unknown_profile(matrix_data, tmp_path):
    one_line(matrix_data("build", tmp_path, "--out", tmp_path / "out", "--profile", "gpuu"), "gpuu", "local")


def test_an_unknown_engine(matrix_data, world, tmp_path):
    ended = matrix_data("build", world / "raw", "--out", tmp_path / "out", "--set", "engines.tracker.name=sam3")
    one_line(ended, "sam3", "embedded")


def test_a_missing_caption_column(matrix_data, world, tmp_path):
    table = tmp_path / "captions.csv"
    table.write_text("video,words\na.mp4,hello\n")
    ended = matrix_data("build", world / "raw", "--captions", table, "--out", tmp_path / "out")
    one_line(ended, "caption", "words")


def test_a_missing_caption_table(matrix_data, world, tmp_path):
    ended = matrix_data("build", world / "raw", "--captions", tmp_path / "no.csv", "--out", tmp_path / "out")
    one_line(ended, "no.csv", "`video`", "`caption`", "--profile laptop")


def test_a_file_where_the_out_folder_should_be(matrix_data, world, tmp_path):
    (tmp_path / "out").write_text("I am a file")
    ended = matrix_data("build", world / "raw", "--captions", sidecar(world), "--out", tmp_path / "out")
    one_line(ended, "out")
    assert (tmp_path / "out").read_text() == "I am a file"


def test_commands_on_a_folder_without_a_build(matrix_data, tmp_path):
    for command in (["status", tmp_path], ["show", tmp_path, "ab"], ["gc", tmp_path], ["verify", tmp_path]):
        one_line(matrix_data(*command), str(tmp_path))
    one_line(matrix_data("retry", tmp_path, "--rejected", "sadness"), "sadness", "poison")
    assert list(tmp_path.iterdir()) == []


def test_an_out_folder_whose_rows_lie_in_no_chunks(matrix_data, world, tmp_path):
    """As they did in an earlier version; the account of the build, which would tell which, is not there."""
    part = tmp_path / "out" / "work" / "ingest" / "0123456789ab" / "part-0123456789abcdef.parquet"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"rows")
    there = sorted(tmp_path.rglob("*"))
    for command in (["build", world / "raw", "--captions", sidecar(world), "--out"], ["status"], ["gc"]):
        one_line(
            matrix_data(*command, tmp_path / "out"), "another version", "work/ingest/0123456789ab", "another --out"
        )
    assert sorted(tmp_path.rglob("*")) == there and part.read_bytes() == b"rows"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_web_server_as_the_out_folder_is_refused_and_not_asked(matrix_data, world, scheme):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        out = f"{scheme}://127.0.0.1:{server.getsockname()[1]}/out"
        one_line(matrix_data("build", world / "raw", "--out", out), out, "nothing can be written", "s3://")
        with pytest.raises(BlockingIOError):
            server.accept()


def test_an_out_folder_inside_the_source(matrix_data, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "raw")
    for out in (tmp_path / "raw", tmp_path / "raw" / "a" / "out", tmp_path / "link" / "out"):
        one_line(matrix_data("build", tmp_path / "raw", "--out", out), "inside the source", "--out elsewhere")
    assert list((tmp_path / "raw").iterdir()) == []


def test_a_link_below_the_source_that_leads_to_the_out_folder(matrix_data, tmp_path):
    clips = tmp_path / "out" / "work" / "ingest" / "abc" / "clips"
    (tmp_path / "raw").mkdir()
    clips.mkdir(parents=True)
    (clips / "clip.mp4").write_bytes(b"one of ours")
    (tmp_path / "raw" / "more").symlink_to(tmp_path / "out")
    one_line(matrix_data("build", tmp_path / "raw", "--out", tmp_path / "out"), "by a link", "--out elsewhere")


def test_a_source_a_table_and_an_out_folder_without_permission(matrix_data_obeying, tmp_path):
    closed, raw, out = tmp_path / "closed", tmp_path / "raw", tmp_path / "out"
    for folder in (closed, raw, out):
        folder.mkdir()
        (folder / "a.mp4").write_bytes(b"no video")
    table = tmp_path / "captions.csv"
    table.write_text("video,caption\na.mp4,A man pushes a box.\n")
    closed.chmod(0)
    out.chmod(0o555)
    try:
        one_line(matrix_data_obeying("build", closed, "--out", tmp_path / "new"), "no permission to list", "closed")
        told = matrix_data_obeying("build", raw, "--captions", table, "--out", out)
        one_line(told, "cannot write to", "Permission denied", "another --out")
        table.chmod(0)
        one_line(matrix_data_obeying("build", raw, "--captions", table, "--out", tmp_path / "new"), "no permission to")
    finally:
        closed.chmod(0o700)
        out.chmod(0o700)
    assert [p.name for p in out.iterdir()] == ["a.mp4"]


@pytest.mark.slow
def test_a_video_without_permission_is_a_rejected_row_until_it_is_mended(matrix_data_obeying, tmp_path):
    """With `no_caption` as the end of the others, so that no clip has to be made."""
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    for name in ("a.mp4", "b.mp4"):
        (raw / name).write_text(name)
    (raw / "a.mp4").chmod(0)
    found = matrix_data_obeying("build", raw, "--out", out, "--json")
    assert found.code == 4 and found.json["dataset"] is None
    assert found.json["funnel"]["scan"] == {"in": 2, "accepted": 1, "rejected": {"unreadable": 1}, "pending": 0}
    (raw / "a.mp4").chmod(0o600)
    assert matrix_data_obeying("retry", out, "--rejected", "unreadable", "--json").json == {"forgotten": {"scan": 1}}
    found = matrix_data_obeying("build", raw, "--out", out, "--json")
    assert found.json["funnel"]["scan"]["accepted"] == 2
    assert found.json["funnel"]["select"]["rejected"] == {"no_caption": 2}
    assert (
        found.json["reasons"][0].startswith("select: no_caption 2, ") and "--profile laptop" in found.json["reasons"][0]
    )
    assert found.errors.startswith("starting: ") and str(raw) in found.errors.replace("\n", "")


def test_a_prefect_server_that_is_not_there(matrix_data, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.mp4").write_bytes(b"no video")
    nowhere = "http://127.0.0.1:1/api"
    ended = matrix_data("build", tmp_path / "raw", "--out", tmp_path / "out", PREFECT_API_URL=nowhere)
    one_line(ended, "no Prefect server", nowhere)


def test_a_protocol_that_is_not_installed(matrix_data, tmp_path):
    one_line(matrix_data("status", "foo://bucket"), "foo")


def test_a_message_is_one_line_whatever_is_in_it(matrix_data, tmp_path):
    ended = matrix_data("build", tmp_path / "a\nb\x1b[31m[red]:bomb:", "--out", tmp_path / "out")
    one_line(ended, "a\\nb\\x1b[31m[red]:bomb:")


def test_a_build_json_that_nests_without_end(matrix_data, tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "build.json").write_text("[" * 100_000)
    one_line(matrix_data("status", tmp_path), "damaged")


def test_ctrl_c_says_that_nothing_is_lost(tmp_path, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("flows.cli.console.run_build", interrupted)
    monkeypatch.setattr("flows.cli.build.preflight", lambda _: None)
    monkeypatch.setattr("flows.cli.build.use_local_prefect", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["matrix_data", "build", str(tmp_path), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130
    assert "nothing done is lost" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
@pytest.mark.slow
def test_a_full_disk_and_a_read_only_folder(matrix_data, world, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    raw = tmp_path / "raw"
    raw.mkdir()
    for path in sorted((world / "raw").glob("clip_*")):
        shutil.copy(path, raw)
    arguments = ("build", raw, "--captions", sidecar(world), "--out", small / "out", *QUICK)
    arguments += ("--set", "run.retry_delay_s=0")
    try:
        one_line(matrix_data(*arguments), "No space left")
        subprocess.run(["mount", "-o", "remount,ro", small], check=True)
        one_line(matrix_data(*arguments), "Read-only")
        subprocess.run(["mount", "-o", "remount,rw,size=500m", small], check=True)
        ended = matrix_data(*arguments, "--json")
        assert ended.code == 0, ended.errors
        assert ended.json["pending"] == 0
    finally:
        subprocess.run(["umount", small], check=True)
        shutil.rmtree(small)
