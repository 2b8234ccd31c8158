"""No module of `tasks/` needs itself: whoever reads one can read what it imports first, and be done."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]


def imports() -> dict[str, set[str]]:
    """Module → modules of `tasks` that it names, within functions and for type checkers too."""
    files = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in (ROOT / "tasks").rglob("*.py")
    }
    found = {}
    for module, path in files.items():
        named = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                whole = {f"{node.module}.{alias.name}" for alias in node.names}
                named |= {name if name in files else node.module for name in whole}
            elif isinstance(node, ast.Import):
                named |= {alias.name for alias in node.names}
        found[module] = named & files.keys() - {module}
    return found


def test_nothing_imports_itself_by_a_detour():
    graph = imports()
    assert len(graph) > 100
    TopologicalSorter(graph).prepare()  # CycleError names the circle
