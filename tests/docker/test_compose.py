"""What compose.yaml promises: pinned, without power, watched, bounded, closed to the outside, true commands."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from benchmarks.setting.prefect_server import client_env, server_env
from benchmarks.setting.processes import free_port, listens, started
from benchmarks.setting.production import on_postgres_and_redis
from flows.opened import open_build
from flows.settings import BuildSettings
from tests.docker.compose import FILE, FOLDER, VARIABLE, load, settings

SERVICES = load()
ONCE = {name for name, service in SERVICES.items() if service["restart"] == "no"}
"""They do one thing and end; nobody can ask after their health."""
OURS = {name for name, service in SERVICES.items() if service["image"].startswith("matrix-11k:")}
PASSWORDS = {"POSTGRES_PASSWORD": "pg", "REDIS_PASSWORD": "rd", "PREFECT_AUTH": "me:secret"} | {
    "S3_ACCESS_KEY": "key",
    "S3_SECRET_KEY": "secretsecret",
}
BIN = Path(sys.executable).parent


def config(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    tool = shutil.which("docker-compose")
    if tool is None:
        pytest.skip("docker-compose is not installed: apt-get install docker-compose")
    env = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run([tool, "-f", str(FILE), "config"], env=env, capture_output=True, text=True)


def test_the_file_is_valid_by_the_schema_of_compose():
    done = config(PASSWORDS)
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    assert set(services) == set(SERVICES)
    assert all(str(port).startswith("127.0.0.1:") for found in services.values() for port in found.get("ports", []))


@pytest.mark.parametrize("missing", PASSWORDS)
def test_nothing_starts_without_its_password(missing):
    done = config({name: value for name, value in PASSWORDS.items() if name != missing})
    assert done.returncode != 0
    assert missing in done.stderr + done.stdout


def test_the_issue_s_services_are_all_there():
    assert {"postgres", "redis", "server", "services", "minio", "language", "vision"} < set(SERVICES)
    assert {"builder", "cpu-worker", "gpu-workers", "review"} < set(SERVICES)
    profiles = {profile for service in SERVICES.values() for profile in service.get("profiles", [])}
    assert profiles == {"minio", "gpu", "one-server", "train", "review"}
    assert [name for name, service in SERVICES.items() if "one-server" in service.get("profiles", [])] == [
        "gpu-workers",
        "vision",
    ]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_and_has_no_power(name):
    service = SERVICES[name]
    tag = service["image"].rpartition(":")[2]
    assert re.search(r"\d+\.\d+\.\d+|\d+\.\d+-|\d{4}-\d{2}-\d{2}", tag), f"{service['image']} is no one version"
    uid = service["user"].partition(":")[0]
    assert uid.isdigit() and int(uid) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"] and "cap_add" not in service and "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_bounded_and_watched(name):
    service = SERVICES[name]
    limits = service["deploy"]["resources"]["limits"]
    assert float(limits["cpus"]) > 0 and re.fullmatch(r"\d+[mg]", limits["memory"])
    assert service["pids_limit"] > 0 and service["logging"]["options"]["max-size"]
    if name in ONCE:
        assert service["healthcheck"] == {"disable": True}
    else:
        assert service["healthcheck"]["test"][0] == "CMD" and service["restart"] == "unless-stopped"


def test_what_lasts_lies_in_named_volumes():
    declared = yaml.safe_load(FILE.read_text())["volumes"]
    mounts = [(name, mount) for name, service in SERVICES.items() for mount in service.get("volumes", [])]
    assert {mount.partition(":")[0] for _, mount in mounts} - set(declared) == {"./weights"}
    assert ("gpu-workers", "./weights:/app/weights:ro") in mounts
    for name, path in {"postgres": "/var/lib/postgresql/data", "redis": "/data", "minio": "/data"}.items():
        assert any(who == name and mount.endswith(f":{path}") for who, mount in mounts)


def test_database_and_messages_are_reached_by_the_server_alone():
    inside = {name for name, service in SERVICES.items() if "state" in service.get("networks", [])}
    assert inside == {"postgres", "redis", "server", "services"}
    assert yaml.safe_load(FILE.read_text())["networks"]["state"] == {"internal": True}
    assert not any("ports" in SERVICES[name] for name in ("postgres", "redis", "services"))


def test_every_variable_stands_in_the_example_and_no_password_does():
    used = {match[1] for match in VARIABLE.finditer(FILE.read_text())}
    example = settings()
    assert set(example) == used
    assert all(example[name] == "" for name in PASSWORDS)
    required = {match[1] for match in VARIABLE.finditer(FILE.read_text()) if match[2] == "?"}
    assert required == set(PASSWORDS)
    # What the example says of a default is the default.
    defaults = {match[1]: match[3] for match in VARIABLE.finditer(FILE.read_text()) if match[2] == "-"}
    assert {name: value for name, value in example.items() if name not in PASSWORDS} == defaults
    assert "docker/.env" in (FOLDER.parent / ".gitignore").read_text().splitlines()
    assert "docker/.env" in (FOLDER.parent / ".dockerignore").read_text().splitlines()


def test_the_server_asks_who_is_there_and_workers_say_so():
    services = load(**PASSWORDS)
    for name in ("server", "services"):
        assert services[name]["environment"]["PREFECT_SERVER_API_AUTH_STRING"] == PASSWORDS["PREFECT_AUTH"]
    for name in ("builder", "cpu-worker", "gpu-workers", "trainer", "review"):
        assert services[name]["environment"]["PREFECT_API_AUTH_STRING"] == PASSWORDS["PREFECT_AUTH"]


def test_prefect_knows_every_setting():
    """Prefect passes over a name that it does not know, without a word."""
    shown = subprocess.run([BIN / "prefect", "config", "view", "--show-defaults"], capture_output=True, text=True)
    known = set(re.findall(r"^(PREFECT_\w+)=", shown.stdout, re.MULTILINE))
    named = {name for service in OURS for name in SERVICES[service].get("environment", {}) if name[:7] == "PREFECT"}
    assert len(known) > 100
    of_prefect_redis = {"PREFECT_REDIS_MESSAGING_URL", "PREFECT_REDIS_WORKER_CLEANUP_QUEUE_URL"}
    assert named - known == of_prefect_redis


def test_what_tests_run_a_server_with_is_what_compose_runs_it_with():
    """Storage and addresses of Redis: one that is not told is localhost's, or lost with the process."""
    tried = on_postgres_and_redis("", 6379)
    old = {f"PREFECT_MESSAGING_{what}": f"PREFECT_SERVER_EVENTS_MESSAGING_{what}" for what in ("BROKER", "CACHE")}
    for name in ("server", "services"):
        assert {old.get(key, key) for key in tried} <= set(SERVICES[name]["environment"])
        there = {key: SERVICES[name]["environment"][old.get(key, key)] for key in tried}
        assert {k: v for k, v in there.items() if "URL" not in k} == {k: v for k, v in tried.items() if "URL" not in k}
        redis = [there[key].rpartition("/")[2] for key in tried if tried[key].startswith("redis:")]
        assert redis == ["0", "1", "2"]


def test_every_pool_of_a_deployment_has_a_service_with_workers():
    asked = yaml.safe_load((FOLDER.parent / "prefect.yaml").read_text())["deployments"]
    pools = {found["work_pool"]["name"] for found in asked}
    served = {words[words.index("--pool") + 1] for words in ALL_COMMANDS.values() if "--pool" in words}
    assert pools == {"matrix", "train"} and served == {*pools, "cpu", "gpu"}


def test_workers_answer_the_health_check_that_they_have():
    for name, words in ALL_COMMANDS.items():
        if "--pool" in words:
            assert "--with-healthcheck" in words and "8080/health" in SERVICES[name]["healthcheck"]["test"][-1]


ALL_COMMANDS = {name: tuple(SERVICES[name]["command"]) for name in OURS - ONCE}


@pytest.mark.parametrize("command", sorted(set(ALL_COMMANDS.values())))
def test_the_product_knows_the_command_and_its_options(command):
    words = list(command)
    options = [word for word in words if word.startswith("--")]
    names = words[: words.index(options[0])] if options else words
    shown = subprocess.run([BIN / names[0], *names[1:], "--help"], capture_output=True, text=True, env=plain())
    assert shown.returncode == 0, shown.stderr
    assert set(options) <= set(re.findall(r"--[a-z-]+", shown.stdout))


def test_the_review_page_s_command_serves_a_build_and_passes_its_check(tmp_path):
    """On loopback and at a free port; all else as it stands there."""
    out, port = tmp_path / "out", free_port()
    open_build(BuildSettings(source=str(tmp_path / "raw"), out=str(out)))
    service = load(**PASSWORDS, REVIEW_OUT=str(out), REVIEW_NAME="review.example")["review"]
    with at_work("review", service, port, tmp_path, {}):
        address = f"http://127.0.0.1:{port}/login"
        for name, status in {"review.example": 200, "elsewhere.example": 421}.items():
            assert httpx.get(address, headers={"host": name}).status_code == status
    assert "token of admin, shown once" in (tmp_path / "log").read_text()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The environment of who talks to a server by its command, without PostgreSQL and Redis; it asks who is there."""
    home, port = tmp_path_factory.mktemp("prefect"), free_port()
    env = server_env(home, port) | {"PREFECT_SERVER_API_AUTH_STRING": PASSWORDS["PREFECT_AUTH"]}
    with at_work("server", SERVICES["server"], port, home, env):
        yield client_env(env)


@pytest.mark.production
@pytest.mark.parametrize("name", [name for name, words in ALL_COMMANDS.items() if "--pool" in words])
def test_workers_by_their_command_pass_their_check_and_are_known_to_the_server(name, server, tmp_path):
    """At a free port, and gpu-workers on a GPU that Docker would have given; all else as it stands there."""
    url, port = server["PREFECT_API_URL"], free_port()
    service = load(**PASSWORDS, PREFECT_API_URL=url)[name]
    more = {"PREFECT_WORKER_WEBSERVER_PORT": str(port), "CUDA_VISIBLE_DEVICES": "0"}
    with at_work(name, service, port, tmp_path, server | service["environment"] | more):
        pool = service["command"][service["command"].index("--pool") + 1]
        workers = 2 if name == "cpu-worker" else 1
        deadline = time.monotonic() + 60
        while (said := statuses(url, pool)) != ["ONLINE"] * workers:  # a check is passed before the server is told
            assert time.monotonic() < deadline, said
            time.sleep(0.5)


def statuses(url: str, pool: str) -> list[str]:
    who = tuple(PASSWORDS["PREFECT_AUTH"].split(":"))
    found = httpx.post(f"{url}/work_pools/{pool}/workers/filter", json={}, auth=who)
    return [worker["status"] for worker in found.json()] if found.is_success else [found.text]


@contextmanager
def at_work(name: str, service: dict[str, Any], port: int, folder: Path, more: dict[str, str]) -> Iterator[None]:
    """A service's command as a plain process at a port of loopback, once its check passes; it does not before."""
    command, check = service["command"], service["healthcheck"]["test"][1:]
    (own,) = re.findall(r":(\d+)/", check[-1])
    command = [{"0.0.0.0": "127.0.0.1", own: str(port)}.get(word, word) for word in command]
    check = [word.replace(f":{own}/", f":{port}/") for word in check]
    env = {**os.environ, **more, "PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(FOLDER.parent)}

    def well() -> bool:
        return subprocess.run(check, cwd=FOLDER.parent, env=env, capture_output=True).returncode == 0

    assert not well()
    with started(name, command, folder / "log", lambda: listens(port) and well(), env=env, cwd=FOLDER.parent):
        yield


def plain() -> dict[str, str]:
    return {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
