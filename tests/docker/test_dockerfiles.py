"""What the Dockerfiles promise: hadolint has nothing to say, and what it does not ask."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
PIPELINE, TRAIN = FILES


def instructions(path: Path) -> list[tuple[str, str]]:
    """(word, rest) of each instruction, lines joined, comments left out."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in joined.splitlines() if line.strip()]


def stages(path: Path) -> dict[str, list[tuple[str, str]]]:
    """Instructions by the name of their stage, from its FROM on."""
    found: dict[str, list[tuple[str, str]]] = {}
    for word, rest in instructions(path):
        if word == "FROM":
            current = found.setdefault(rest.split(" AS ")[1], [])
        elif word == "ARG" and not found:
            continue
        current.append((word, rest))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_hadolint_has_nothing_to_say(path):
    tool = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    assert tool, "hadolint is of the extra dev: make install"
    done = subprocess.run(
        [tool, "--no-color", "--failure-threshold", "style", str(path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_there_are_the_three_targets():
    assert list(stages(PIPELINE)) == ["cpu", "gpu"]
    assert list(stages(TRAIN)) == ["train"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_base_is_an_argument_with_a_pinned_default(path):
    arguments = dict(rest.split("=") for word, rest in instructions(path) if word == "ARG" and "BASE" in rest)
    bases = {rest.split(" AS ")[0] for word, rest in instructions(path) if word == "FROM"}
    outside = {base for base in bases if base not in stages(path)}
    assert outside == {f"${{{name}}}" for name in arguments}
    assert all(re.search(r":\d+\.\d+\.\d+", default) for default in arguments.values())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_target_runs_as_nobody_in_particular_and_can_be_asked_how_it_is(path):
    for body in stages(path).values():
        assert [rest for word, rest in body if word == "USER"] == ["10001:10001"]
        # Nothing becomes root's again, and nothing is written after it.
        after = [word for word, _ in body[[word for word, _ in body].index("USER") :]]
        assert after == ["USER", "HEALTHCHECK", "CMD"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_secret_and_no_address_is_in_a_layer(path):
    assert not [rest for word, rest in instructions(path) if word == "ADD"]
    named = " ".join(rest for word, rest in instructions(path) if word in ("ARG", "ENV"))
    assert not re.search(r"(?i)password|secret|token|auth|_key|index|proxy", named)
    assert "://" not in path.read_text().replace("http://127.0.0.1:8080/health", "")
    installs = [rest for word, rest in instructions(path) if word == "RUN" and "install.sh" in rest]
    assert installs and all("type=secret,id=pip.conf" in rest and "type=secret,id=uv.toml" in rest for rest in installs)


def test_gpu_differs_from_cpu_in_base_and_extras_alone():
    of = {name: [pair for pair in body if "EXTRAS=" not in pair[1]] for name, body in stages(PIPELINE).items()}
    cpu = [(word, rest.replace("CPU", "GPU").replace("cpu", "gpu")) for word, rest in of["cpu"]]
    assert cpu == [(word, rest.replace('FIRST="torch torchvision" ', "")) for word, rest in of["gpu"]]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_extras_are_the_package_s(path):
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = [rest.split('"')[1].split() for word, rest in instructions(path) if word == "ARG" and "EXTRAS=" in rest]
    assert named and {extra for extras in named for extra in extras} <= set(known)


def test_package_lists_do_not_stay():
    script = (ROOT / "docker/system.sh").read_text()
    assert script.index("apt-get install") < script.index("rm -rf /var/lib/apt/lists")
    assert "--no-install-recommends" in script
    assert "--no-cache-dir" in (ROOT / "docker/install.sh").read_text()


def test_only_what_the_images_hold_reaches_a_build():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    taken = {line[1:] for line in lines if line.startswith("!")}
    packages = {"schemas", "tasks", "flows", "matrix_train", "web", "profiles", "configs"}
    assert taken == packages | {"constraints.txt", "prefect.yaml", "pyproject.toml", "README.md", "docker"}
