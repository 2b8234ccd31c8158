"""The images are built, and do their work: as nobody, over files that nobody can write, with no way out.

Root, buildah, debootstrap, PostgreSQL and redis-server are needed, some twenty minutes, and 25 GB of disk on the way.
"""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.docker.images import USER, Builder, Image, pip_settings
from tests.docker.system import PASSWORDS, system

pytestmark = [pytest.mark.production, pytest.mark.long, pytest.mark.slow, pytest.mark.timeout(3600)]

ASK = """
import os, sys, httpx
who = tuple(sys.argv[1].split(":")) if len(sys.argv) > 1 else None
print(httpx.post(os.environ["PREFECT_API_URL"] + "/flows/filter", json={}, auth=who).status_code)
"""
NEEDED = ("buildah", "debootstrap", "redis-server", "ip", "pg_isready")


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    lacking = [tool for tool in NEEDED if shutil.which(tool) is None]
    if os.geteuid() != 0 or lacking:
        pytest.skip(f"building images needs root and {', '.join(lacking or NEEDED)}")
    # Not under pytest's own folder, which only root may enter: the images' user has to.
    folder = Path("/var/tmp") / f"matrix-images-{os.getpid()}"
    made = Builder(folder)
    try:
        made.base()
        yield made
    finally:
        made.buildah("umount", "--all")
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def cpu(builder) -> Image:
    return builder.open(builder.build("docker/pipeline.Dockerfile", "cpu", "CPU_BASE", "localhost/base"))


@pytest.fixture(scope="module")
def data(builder) -> Path:
    """What is mounted at /data, of the images' user."""
    folder = builder.folder / "data"
    folder.mkdir()
    os.chown(folder, USER, USER)
    return folder


@pytest.fixture(scope="module")
def dataset(cpu, data) -> Path:
    """A small world, rendered and built in the image."""
    cpu.run("matrix_data", "render", "/data/world", "--videos", "4", "--no-broken", data=data)
    cpu.run(
        "matrix_data",
        "build",
        "/data/world/raw",
        "--captions",
        "/data/world/captions.csv",
        "--out",
        "/data/out",
        data=data,
    )
    (found,) = (data / "out/dataset").iterdir()
    return found


def test_nothing_can_be_written_but_data_and_tmp(cpu, data):
    assert cpu.run("id", "-u", data=data).strip() == str(USER)
    status = cpu.run("cat", "/proc/self/status", data=data)
    assert [line.split()[1] for line in status.splitlines() if line.startswith("CapEff")] == ["0" * 16]
    for path in ("/app", "/opt/venv/bin", "/etc", "/"):
        with pytest.raises(AssertionError, match="Read-only file system"):
            cpu.run("touch", f"{path}/new", data=data)
    # Nor with a root file system that can be written, for all of it is root's.
    files = [path for path in (cpu.rootfs / "app").rglob("*") if not path.is_symlink()]
    assert files and not [path for path in files if path.stat().st_uid or path.stat().st_mode & 0o002]


def test_nothing_of_the_build_stays(builder, cpu):
    for left in ("etc/pip.conf", "etc/uv/uv.toml", "root/.cache", "root/.config", "mnt/install.sh"):
        assert not (cpu.rootfs / left).exists()
    assert list((cpu.rootfs / "var/lib/apt/lists").glob("*_Packages")) == []
    assert list((cpu.rootfs / "tmp").iterdir()) == []
    assert not [name for name in cpu.config["Env"] if name.startswith(("PIP_", "UV_", "SSL_", "HTTP"))]
    recorded = builder.buildah("inspect", "--type", "image", "localhost/matrix-11k:cpu")
    local = {word for value in pip_settings().values() for word in value.split() if "/" in word}
    texts = [recorded, *(path.read_text(errors="replace") for path in files_of_ours(cpu.rootfs))]
    assert not [(word, text[:80]) for word in local for text in texts if word in text]


def files_of_ours(rootfs: Path) -> list[Path]:
    """Small text that a build may have left an address in."""
    found = [*(rootfs / "app").rglob("*"), *(rootfs / "opt/venv").glob("*.cfg")]
    found += (rootfs / "opt/venv").rglob("*.dist-info/direct_url.json")
    return [path for path in found if path.is_file()]


def test_a_dataset_is_built_in_the_image(cpu, data, dataset):
    assert cpu.run("matrix_data", "verify", "/data/out", data=data).strip() == "ok"
    status = json.loads(cpu.run("matrix_data", "status", "/data/out", "--json", data=data).splitlines()[-1])
    assert status
    assert {path.stat().st_uid for path in data.rglob("*")} == {USER}


def test_the_whole_system_runs_a_deployment(cpu, data, dataset, builder):
    """Database, messages, server, services, workers by their very commands; then a run as the UI would start it."""
    with system(cpu, data, builder.folder) as up:
        assert up.run("builder", "python", "-c", ASK).strip() == "401"
        assert up.run("builder", "python", "-c", ASK, PASSWORDS["PREFECT_AUTH"]).strip() == "200"
        up.run("builder", "prefect", "--no-prompt", "deploy", "--name", "build")
        given = {"source": "/data/world/raw", "captions": "/data/world/captions.csv", "out": "/data/by_worker"}
        given |= {"changes": ["run.pools={caption: cpu}"]}
        parameters = ["--params", json.dumps(given)]
        run = up.run("builder", "prefect", "deployment", "run", "build/build", *parameters, "--watch")
        assert "Completed" in run
        assert "funnel" in up.run("builder", "prefect", "artifact", "ls")
        with up.up("review"):  # over /data/out, where its check is passed
            assert "token of ann" in up.run("review", "matrix_data", "review", "/data/out", "--invite", "ann")
    (made,) = (data / "by_worker/dataset").iterdir()
    shards = {path.name: path.read_bytes() for path in dataset.glob("*.tar")}
    assert shards and {path.name: path.read_bytes() for path in made.glob("*.tar")} == shards


def test_the_trainer_fits_the_tiny_model(builder, data, dataset):
    train = builder.open(builder.build("docker/train.Dockerfile", "train", "BASE", "localhost/base"))
    changed = {
        "data.dataset": f"/data/out/dataset/{dataset.name}",
        "model.path": "/data/tiny/model",
        "train.out": "/data/tiny/run",
        "train.steps": "2",
        "validation.every": "0",
    }
    options = [word for key, value in changed.items() for word in ("--set", f"{key}={value}")]
    printed = train.run("matrix_train", "fit", "configs/tiny.yaml", *options, data=data)
    assert "2/2 loss" in printed
    assert len((data / "tiny/run/metrics.jsonl").read_text().splitlines()) >= 1
