"""A place that one process holds, and what is written there: whole, or as it was."""

from pathlib import Path

import pytest

from matrix_train.errors import UserError
from matrix_train.files import held, whole


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "new" / "a.json"
    with whole(file) as scratch:
        scratch.write_text("first")
    with pytest.raises(KeyboardInterrupt), whole(file) as scratch:
        scratch.write_text("sec")
        raise KeyboardInterrupt
    assert file.read_text() == "first"
    assert list(file.parent.iterdir()) == [file]


def test_what_a_killed_process_left_goes_with_the_next(tmp_path: Path) -> None:
    for name in (".v.mp4.17.part", ".v.json.17.part", ".w.mp4.17.part", "v.mp4", ".mine"):
        (tmp_path / name).touch()
    with held(tmp_path, "v.mp4"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine", ".w.mp4.17.part", "v.mp4"]
    with held(tmp_path):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine", "v.mp4"]


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
