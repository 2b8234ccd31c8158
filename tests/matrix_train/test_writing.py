"""Files that appear whole, in a place that one process holds."""

from pathlib import Path

import pytest

from matrix_train.errors import UserError
from matrix_train.writing import held, whole


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "new" / "a.json"
    with whole(file) as scratch:
        scratch.write_text("first")
    with pytest.raises(KeyboardInterrupt), whole(file) as scratch:
        scratch.write_text("sec")
        raise KeyboardInterrupt
    assert file.read_text() == "first"
    assert list(file.parent.iterdir()) == [file]
    scratch.write_text("of a process that was killed")
    with whole(file) as scratch:
        scratch.write_text("second")
    assert [path.read_text() for path in file.parent.iterdir()] == ["second"]


@pytest.mark.parametrize("file", [None, "v.mp4"])
def test_a_second_process_is_refused_and_an_empty_folder_goes_again(tmp_path: Path, file: str | None) -> None:
    folder = tmp_path / "a" / "b"
    with held(folder, file):
        with pytest.raises(UserError, match=r"another process writes to .*: wait for it, or give another"):
            held(folder, file).__enter__()
        with held(folder, "w.mp4"):  # another file, or a folder that is held as a whole by itself
            pass
    assert not (tmp_path / "a").exists()
    with held(folder, file):
        (folder / "kept").touch()
    assert list(folder.iterdir()) == [folder / "kept"]
    with pytest.raises(UserError, match=r"nothing can be written to .*kept: Not a directory"), held(folder / "kept"):
        pass
