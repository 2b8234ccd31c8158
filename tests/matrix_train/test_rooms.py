"""The rooms of the trainer: an import between two of them points downwards."""

import ast
import re
from pathlib import Path

import matrix_train

ROOT = Path(matrix_train.__file__).parent
ORDER = (
    "errors", "files", "attention", "data", "config", "backbones", "align", "plan", "generate", "fit", "export",
    "sample", "analyze", "evaluate", "bench", "cli",
)  # fmt: skip
"""From the lowest up. What only a package's `__init__` or `__main__` at the top imports may come from anywhere."""


def test_imports_between_rooms_point_downwards() -> None:
    rooms = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms - {"__init__", "__main__"} == set(ORDER)
    upwards = []
    for file in sorted(ROOT.rglob("*.py")):
        room = file.relative_to(ROOT).parts[0].removesuffix(".py")
        if room in ORDER:
            upwards += [
                f"{file.relative_to(ROOT)} imports {name}"
                for name in _imported(file)
                if ORDER.index(name.split(".")[1]) > ORDER.index(room)
            ]
    assert upwards == []


MODELS = re.compile(r"cogvideo|\bwan\b|wan[ _-]?2|wan2\d|hunyuan", re.IGNORECASE)


def test_no_model_is_named_outside_the_backbones() -> None:
    """Neither in code nor in comments; the backbones' own registry names them."""
    named = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in sorted(ROOT.rglob("*.py"))
        if file.relative_to(ROOT).parts[0] != "backbones" or file.parent == ROOT / "backbones"
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if MODELS.search(line) and file != ROOT / "backbones" / "__init__.py"
    ]
    assert named == []


def test_of_other_packages_it_knows_the_schemas_and_where_it_asks_engines() -> None:
    foreign = {
        (str(file.relative_to(ROOT)), name.split(".")[0])
        for file in ROOT.rglob("*.py")
        for name in _imported(file, ("tasks", "flows"))
    }
    names = ("checked/planted", "generated", "judge/by_vlm", "profile", "seen/decoding", "seen/footage")
    judges = {(f"evaluate/{name}.py", "tasks") for name in names}
    assert foreign == judges | {(f"sample/{name}.py", "tasks") for name in ("trackers", "reading")}


def _imported(file: Path, packages: tuple[str, ...] = ("matrix_train",)) -> list[str]:
    """Modules of these packages that a file imports, wherever in it."""
    names = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports by a relative name"
            names.append(node.module or "")
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return [name for name in names if name.startswith(tuple(f"{package}." for package in packages))]
