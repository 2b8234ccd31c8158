"""What an installed package has: profiles, configurations, prompts and templates travel in the wheel."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_everything_that_is_read_at_run_time_is_in_the_wheel(tmp_path: Path) -> None:
    source = tmp_path / "source"
    # A build writes beside what it builds.
    left_out = shutil.ignore_patterns(".*", "build", "tests", "docs", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, source, symlinks=True, ignore=left_out)
    command = [sys.executable, "-m", "pip", "wheel", str(source), "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*command, "--no-index", "--wheel-dir", str(tmp_path)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {f"flows/profiles/{path.name}" for path in (ROOT / "profiles").glob("*.yaml")}
    wanted |= {f"matrix_train/configs/{path.name}" for path in (ROOT / "configs").glob("*.yaml")}
    for package, pattern in (
        ("tasks/engines/prompts", "**/*.md"),
        ("matrix_train/evaluate/judge/prompts", "**/*.md"),
        ("tasks/report", "*.j2"),
        ("tasks/report", "*.css"),
        ("tasks/compare", "*.j2"),
        ("web", "templates/*"),
        ("web", "static/*"),
        ("matrix_train/analyze", "report.*"),
    ):
        wanted |= {str(path.relative_to(ROOT)) for path in (ROOT / package).glob(pattern)}
    assert len(wanted) >= 12 and wanted <= names
