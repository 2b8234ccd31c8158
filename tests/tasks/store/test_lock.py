"""One build at a time on a folder; nobody is kept out by one that is dead."""

import subprocess
import sys
from pathlib import Path

import pytest

from tasks.errors import UserError
from tasks.store.folder import Folder
from tasks.store.lock import build_lock, require_lock

HOLD = (
    "import sys; from tasks.store.lock import build_lock\n"
    "with build_lock(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
)


def test_another_process_is_kept_out_while_it_is_held_and_not_after_a_kill(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(UserError, match=r"another build is at work in .*give another --out"),
            build_lock(str(tmp_path)),
        ):
            pass
        with pytest.raises(AssertionError):
            require_lock(Folder(str(tmp_path)).below("work"))
        holder.kill()
    with build_lock(str(tmp_path)):
        pass


def test_a_second_time_in_one_process(tmp_path: Path) -> None:
    with build_lock(str(tmp_path)):
        with pytest.raises(UserError, match="another build is at work"), build_lock(str(tmp_path)):
            pass
        require_lock(Folder(str(tmp_path)).below("work"))
    with build_lock(str(tmp_path)):
        pass


def test_it_is_given_back_by_a_build_that_ends_badly(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bad"), build_lock(str(tmp_path)):
        raise ValueError("bad")
    with pytest.raises(AssertionError):
        require_lock(Folder(str(tmp_path)).below("work"))
    with build_lock(str(tmp_path)):
        pass


@pytest.mark.parametrize("blocked", ["out", "work", ".lock"])
def test_a_folder_that_cannot_be_written_to_is_told_in_one_line(tmp_path: Path, blocked: str) -> None:
    """A file in place of a folder, or a folder in place of the file, stands for all that the system refuses."""
    out = tmp_path / "out"
    if blocked == "out":
        out.write_bytes(b"")
    elif blocked == "work":
        out.mkdir()
        (out / "work").write_bytes(b"")
    else:
        (out / "work" / ".lock").mkdir(parents=True)
    with pytest.raises(UserError, match=f"cannot write to {out}: .*give another --out") as told, build_lock(str(out)):
        pass
    assert "\n" not in str(told.value)


def test_an_object_store_has_none(request: pytest.FixtureRequest) -> None:
    out = f"memory://{request.node.name}"
    with build_lock(out), build_lock(out):
        require_lock(Folder(out).below("work"))
    with pytest.raises(AssertionError):
        require_lock(Folder(out).below("work"))
    assert Folder(out).names("work") == []


def test_it_makes_the_folders_that_it_needs(tmp_path: Path) -> None:
    with build_lock(str(tmp_path / "new" / "out")):
        require_lock(Folder(str(tmp_path / "new" / "out" / "work")))
