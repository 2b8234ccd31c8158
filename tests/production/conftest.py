"""The real parts of a production set-up, each started once for all tests here; what a machine lacks skips its tests."""

from pathlib import Path

import pytest

from benchmarks.setting import processes, production
from tasks.world import render_bucket
from tests.production.pooling import Place, ended, into_bucket


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure shows the logs of the servers that are up."""
    report = yield
    if report.failed:
        report.sections += [(f"log of {server.name}", server.tail()) for server in processes.running]
    return report


def up(part):
    """The part for as long as its fixture lives; a skip with the reason where this machine lacks it."""
    try:
        with part as found:
            yield found
    except production.Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("production")


@pytest.fixture(scope="session")
def database(home):
    """The URL of a PostgreSQL."""
    yield from up(production.postgres(home))


@pytest.fixture(scope="session")
def cache(home):
    """The port of a Redis."""
    yield from up(production.redis(home))


@pytest.fixture(scope="session")
def split(home, database, cache):
    """The environment of clients of a Prefect server on PostgreSQL and Redis, its services in their own process."""
    yield from up(production.prefect_split(home, database, cache))


@pytest.fixture(scope="session")
def bucket(home):
    """The endpoint of an S3."""
    yield from up(production.bucket(home))


@pytest.fixture(scope="session")
def cluster(home):
    """The address of a Ray head with a second node."""
    yield from up(production.ray_cluster(home))


@pytest.fixture(scope="session")
def world(home) -> Path:
    """Four rendered videos with their captions."""
    return render_bucket(home / "world", videos=4, seed=4, level="plain", broken=False)


@pytest.fixture(scope="session")
def on_disk(world, home, split) -> Place:
    return Place(str(world / "raw"), str(world / "captions.csv"), str(home), split)


@pytest.fixture(scope="session")
def in_bucket(world, bucket, split) -> Place:
    return into_bucket(world, bucket, "matrix", split)


@pytest.fixture(scope="session")
def calm(on_disk) -> dict[str, bytes]:
    """The dataset's files of a build in one process that nobody disturbs, by name."""
    return undisturbed(on_disk)


@pytest.fixture(scope="session")
def calm_in_bucket(in_bucket) -> dict[str, bytes]:
    """The same of the videos in the bucket: a dataset knows where they came from."""
    return undisturbed(in_bucket)


def undisturbed(place: Place) -> dict[str, bytes]:
    done = ended(place.env, *place.build("calm"))
    assert done.returncode == 0, done.stderr
    return place.dataset("calm")
