"""Builds the images and runs commands in them where no image registry is reached: buildah over a Debian by debootstrap.

    python -m tests.docker.images build/images            # needs root, buildah, debootstrap; 35 GB of disk on the way

What a registry would give is made here, what a container runtime would do is done by `unshare` and `chroot`: another
user without any power, a root file system that nobody can write to, a network of its own that leads nowhere.
"""

import json
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
USER = 10001
CERTIFICATES = Path("/etc/ssl/certs")
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

ENTER = """
set -eu
mount --make-rprivate /
mount --bind "$ROOT" "$ROOT"
mount --rbind /dev "$ROOT/dev"
mount -t proc proc "$ROOT/proc"
mount -t tmpfs -o mode=1777 tmpfs "$ROOT/tmp"
mount --bind "$DATA" "$ROOT/data"
mount --bind "$HOSTS" "$ROOT/etc/hosts"
mount -o remount,bind,ro "$ROOT"
hostname "$NAME"
ip link set lo up
exec chroot --userspec="$OWNER" "$ROOT" "$@"
"""
"""What a container runtime does before the command; in namespaces of its own, so that nothing stays mounted."""


@dataclass
class Image:
    """A built image, its files unpacked. `config` is what Docker calls so: Env, User, WorkingDir, Healthcheck, Cmd."""

    rootfs: Path
    config: dict[str, Any]

    def start(
        self, *command: str, data: Path, network: str | None = None, name: str = "box", **environment: str
    ) -> subprocess.Popen[str]:
        """`docker run --read-only --tmpfs /tmp -v DATA:/data IMAGE COMMAND`, in a named network or in none."""
        values = [*self.config["Env"], *(f"{key}={value}" for key, value in environment.items())]
        inside = ["env", "-i", f"--chdir={self.config['WorkingDir']}", *values, *command]
        spaces = ["unshare", "--mount", "--uts"]
        spaces = [*spaces, "--net"] if network is None else ["ip", "netns", "exec", network, *spaces]
        hosts = f"/etc/netns/{network}/hosts" if network else "/etc/hosts"
        return subprocess.Popen(
            [*spaces, "bash", "-c", ENTER, "enter", *inside],
            env={"PATH": SYSTEM_PATH, "ROOT": str(self.rootfs), "DATA": str(data), "HOSTS": hosts, "NAME": name}
            | {"OWNER": self.config["User"]},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command: str, data: Path, network: str | None = None, name: str = "box", **environment: str) -> str:
        """The same, to its end: what it printed. AssertionError with that if it fails."""
        process = self.start(*command, data=data, network=network, name=name, **environment)
        printed, _ = process.communicate(timeout=900)
        assert process.returncode == 0, f"{command} ended with {process.returncode}:\n{printed}"
        return printed


class Builder:
    """buildah with a storage of its own under `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)

    def buildah(self, *arguments: str) -> str:
        """stdout. Raises CalledProcessError, with buildah's words in the log of the test."""
        store, run = self.folder / "store", self.folder / "run"
        command = ["buildah", "--root", str(store), "--runroot", str(run), "--storage-driver", "vfs", *arguments]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={"PATH": SYSTEM_PATH, "BUILDAH_ISOLATION": "chroot", "TMPDIR": str(self.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            print(done.stdout[-8000:], file=sys.stderr)
            done.check_returncode()
        return done.stdout.strip()

    def base(self) -> str:
        """The smallest Debian, from where this machine has its own packages: name of the image."""
        rootfs = self.folder / "base"
        mirror, release = debian()
        command = ["debootstrap", "--variant=minbase", "--include=ca-certificates", release, str(rootfs), mirror]
        subprocess.run(command, check=True, capture_output=True)
        container = self.buildah("from", "scratch")
        self.buildah("add", "--quiet", container, str(rootfs), "/")
        self.buildah("commit", "--quiet", "--rm", container, "localhost/base")
        shutil.rmtree(rootfs)
        return "localhost/base"

    def build(self, dockerfile: str, target: str, base_argument: str, base: str) -> str:
        """One target of a Dockerfile, as `docker build` would: name of the image."""
        name = f"localhost/matrix-11k:{target}"
        secrets = [f"--secret=id={key},src={path}" for key, path in self.index().items()]
        # The machine's own authorities, for a package index that only they vouch for.
        mounts = [f"--volume={CERTIFICATES}:{CERTIFICATES}:ro"]
        for path in local_folders():
            mounts.append(f"--volume={path}:{path}:ro")
        what = ["--target", target, "--tag", name, "--file", dockerfile, "--build-arg", f"{base_argument}={base}"]
        # Docker's format: OCI's has no health check.
        self.buildah("bud", "--format", "docker", *mounts, *secrets, *what, ".")
        return name

    def open(self, name: str) -> Image:
        """Unpack an image that was built here."""
        container = self.buildah("from", name)
        config = json.loads(self.buildah("inspect", "--type", "image", name))["Docker"]["config"]
        return Image(Path(self.buildah("mount", container)), config)

    def index(self) -> dict[str, Path]:
        """Where this machine has Python's packages from: the two files that the Dockerfiles take as build secrets."""
        pip, uv = self.folder / "pip.conf", self.folder / "uv.toml"
        settings = pip_settings()
        pip.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items()))
        lines = ["system-certs = true"]
        if "index-url" in settings:
            lines.append(f"index-url = {json.dumps(settings['index-url'])}")
        uv.write_text("\n".join(lines) + "\n")
        return {"pip.conf": pip, "uv.toml": uv}


def debian() -> tuple[str, str]:
    """Mirror and release that apt has here."""
    asked = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"]
    for line in subprocess.run(asked, check=True, capture_output=True, text=True).stdout.splitlines():
        mirror, release, component = line.split()
        if component == "main" and "-" not in release:
            return mirror, release
    raise LookupError("apt knows no Debian release here: run apt-get update")


def pip_settings() -> dict[str, str]:
    """pip's configuration here, files and environment together: key without section → value."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True)
    settings = {}
    for line in listed.stdout.splitlines():
        key, _, value = line.partition("=")
        settings[key.rpartition(".")[2]] = shlex.split(value)[0]
    return settings


def local_folders() -> list[str]:
    """Folders of packages on this machine that pip's configuration names."""
    words = " ".join(pip_settings().values()).split()
    paths = {word.removeprefix("file://") for word in words if word.startswith(("/", "file:///"))}
    return sorted(path for path in paths if Path(path).is_dir())


def main() -> None:
    builder = Builder(Path(sys.argv[1]))
    took: dict[str, float] = {}
    for name, make in {
        "base": builder.base,
        "cpu": lambda: builder.build("docker/pipeline.Dockerfile", "cpu", "CPU_BASE", "localhost/base"),
        "train": lambda: builder.build("docker/train.Dockerfile", "train", "BASE", "localhost/base"),
    }.items():
        start = time.monotonic()
        make()
        took[name] = round(time.monotonic() - start, 1)
    print(builder.buildah("images"))
    print(json.dumps({"seconds": took}))


if __name__ == "__main__":
    main()
