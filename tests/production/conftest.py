"""The real parts of a production set-up, each started once for all tests here; what a machine lacks skips its tests."""

from pathlib import Path

import pytest

from benchmarks import processes, production


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
