"""The command over shards: table, layers, report; stopped and gone on with; a run of its own; generated clips."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from matrix_train.cli import app as cli
from matrix_train.cli.analyze import subject_of
from matrix_train.config import load_config
from matrix_train.errors import UserError
from matrix_train.fit.assembly import make_random_model
from tests.matrix_train.fitting import SMALL, TINY, sets, settings, small_config


def run(*words: str) -> dict[str, Any]:
    result = CliRunner().invoke(cli.app, [*words, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def analysed(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[str]]:
    """Three clips, three steps: folder, what was said, and the settings."""
    out = tmp_path_factory.mktemp("analyze") / "A"
    words = sets(settings(dataset, out.parent / "run"))
    small_config(dataset, out.parent / "run")
    return out, run("analyze", str(TINY), *words, "--out", str(out), "--steps", "3", "--keep-maps", "1@0,2"), words


def test_a_row_a_clip_block_step_role_and_kind(analysed: tuple[Path, dict[str, Any], list[str]]) -> None:
    out, said, _ = analysed
    table = pq.read_table(out / "analysis.parquet")
    assert (said["clips"], said["left_out"], said["rows"]) == (3, 0, table.num_rows)
    keys = table.group_by(["clip", "block", "step", "interaction", "role", "kind"]).aggregate([([], "count_all")])
    assert keys.num_rows == table.num_rows, "one row each"
    assert set(table["block"].to_pylist()) == {0, 1, 2, 3}
    assert set(table["step"].to_pylist()) == {0, 1, 2}
    assert set(table["kind"].to_pylist()) == {"v2t", "v2v"}
    assert set(table["role"].to_pylist()) == {"subject", "verb", "object"}
    assert pc.all(pc.less_equal(table["aas"], pc.multiply(table["mass"], 1 + 1e-5))).as_py()
    assert pc.min(table["aas"]).as_py() >= 0
    first = table.filter(pc.equal(table["step"], 0))["timestep"].to_pylist()
    assert set(first) == {max(table["timestep"].to_pylist())}, "the first step is the noisiest"


def test_layers_hold_what_fit_takes(analysed: tuple[Path, dict[str, Any], list[str]]) -> None:
    out, said, _ = analysed
    layers = json.loads((out / "layers.json").read_text())
    assert layers["settings"] == said["settings"]
    assert (len(layers["settings"]["align.sga_blocks"]), len(layers["settings"]["align.spa_blocks"])) == (2, 1)
    assert layers["chosen_by"] == {"sga": "influential", "spa": "influential"}
    for own in layers["variants"].values():
        assert sum(own["frequency"]) == 3 * 2, "three clips, two of four blocks are top ones"


def test_settings_given_beside_layers_have_the_last_word(analysed: tuple[Path, dict[str, Any], list[str]]) -> None:
    from matrix_train.analyze.layers import check_backbone, settings_of

    out, _, words = analysed
    chosen = settings_of(out / "layers.json")
    config = load_config(TINY, [*chosen, *words[1::2], "align.spa_blocks=[0]"])
    assert config.align.spa_blocks == (0,)
    assert list(config.lora.blocks) == json.loads((out / "layers.json").read_text())["settings"]["lora.blocks"]
    check_backbone(out / "layers.json", config)
    other = json.loads((out / "layers.json").read_text()) | {"backbone": "wan22"}
    (out.parent / "other.json").write_text(json.dumps(other))
    with pytest.raises(UserError, match=r"of a wan22, but .* is a cogvideox: analyze that one"):
        check_backbone(out.parent / "other.json", config)


def test_the_report_is_one_file_and_fetches_nothing(analysed: tuple[Path, dict[str, Any], list[str]]) -> None:
    out, _, _ = analysed
    page = (out / "report.html").read_text()
    assert page.count('<script type="application/json" class="clip">') == 3
    for far in ("http://", "https://", "src=", "@import", "url("):
        assert far not in page.replace("image.src=", "").replace("image.src =", ""), far
    clip = json.loads(page.split('class="clip">')[1].split("</script>")[0])
    assert clip["lattice"] == [3, 4, 6]
    assert len(clip["frames"]) == 3
    for word in clip["words"]:
        assert len(word["outlines"]) == 3 and word["maps"].keys() == word["most"].keys() <= {"v2t", "v2v"}
        assert all(0 < most <= 1 for most in word["most"].values()), "shares of attention"
    heats = page.split("<h2>By block and step</h2>")[1].split("<figure>")[1:]
    tops = [re.findall(r'text-anchor="start">([^<]+)<', heat)[-1] for heat in heats]
    assert tops[0] == tops[1] and tops[2] == tops[3], "nouns and verbs on one scale"
    assert "3 clips: too few for a ranking" in page


def test_maps_are_kept_where_they_are_asked_for(analysed: tuple[Path, dict[str, Any], list[str]]) -> None:
    from safetensors.torch import load_file

    out, _, _ = analysed
    table = pq.read_table(out / "analysis.parquet")
    files = sorted((out / "maps").iterdir())
    assert [file.stem for file in files] == sorted(set(table["clip"].to_pylist()))
    for file in files:
        maps = load_file(file)
        assert set(maps) == {f"block1.step{step}.{kind}" for step in (0, 2) for kind in ("v2t", "v2v")}
        own = table.filter(pc.and_(pc.equal(table["clip"], file.stem), pc.equal(table["block"], 1))).to_pylist()
        for row in own:
            if row["step"] != 1:
                r = 3 * row["interaction"] + ["subject", "verb", "object"].index(row["role"])
                total = maps[f"block1.step{row['step']}.{row['kind']}"][r].sum()
                assert float(total) == pytest.approx(row["mass"], rel=1e-5)


def test_a_stopped_analysis_goes_on_and_another_one_is_refused(
    analysed: tuple[Path, dict[str, Any], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, said, words = analysed
    before = {part.name: part.stat().st_mtime_ns for part in (out / "clips").iterdir()}
    rows = (out / "analysis.parquet").read_bytes()
    gone = sorted((out / "clips").iterdir())[1]
    gone.unlink()
    asked = ("analyze", str(TINY), *words, "--out", str(out), "--steps", "3", "--keep-maps", "1@0,2")
    assert run(*asked) == said
    after = {part.name: part.stat().st_mtime_ns for part in (out / "clips").iterdir()}
    assert {name for name in after if after[name] != before[name]} == {gone.name}
    assert (out / "analysis.parquet").read_bytes() == rows, "the same bytes as without a stop"
    other = CliRunner().invoke(cli.app, [*asked[:6], *asked[6:], "--set", "train.seed=5"])
    assert isinstance(other.exception, UserError)
    assert "holds another analysis: seed was 0, is 5: give another --out" in str(other.exception)


def test_labels_tell_success_from_failure(analysed: tuple[Path, dict[str, Any], list[str]]) -> None:
    out, _, words = analysed
    keys = sorted(part.stem for part in (out / "clips").iterdir())
    (out.parent / "l.csv").write_text(f"clip,label\n{keys[0]},success\n{keys[1]},failure\n")
    asked = ("analyze", str(TINY), *words, "--out", str(out), "--steps", "3", "--keep-maps", "1@0,2", "--labels")
    run(*asked, str(out.parent / "l.csv"))
    layers = json.loads((out / "layers.json").read_text())
    assert layers["labelled"] == {"success": 1, "failure": 1}
    assert len(layers["variants"]["noun.v2t"]["success_gap"]) == 4
    assert "less the mean of all" in (out / "report.html").read_text()
    (out.parent / "m.csv").write_text(f"clip,label\n{keys[0]},success\nelsewhere,failure\n")
    wrong = CliRunner().invoke(cli.app, [*asked, str(out.parent / "m.csv")])
    assert "of the 3 clips to analyse 1 succeed and 0 fail: both are needed" in str(wrong.exception)


def test_fit_takes_the_layers_and_its_run_is_analysed_on_clips_that_it_generates(
    analysed: tuple[Path, dict[str, Any], list[str]], tmp_path: Path
) -> None:
    out, _, words = analysed
    words = [*words, *sets([f"train.out={tmp_path / 'run'}", "train.steps=1", "optim.lr=0.5"])]
    run("fit", str(TINY), "--layers", str(out / "layers.json"), *words)
    config = load_config(tmp_path / "run/config.yaml", [])
    chosen = json.loads((out / "layers.json").read_text())["settings"]
    assert list(config.lora.blocks) == chosen["lora.blocks"]
    assert [list(config.align.sga_blocks), list(config.align.spa_blocks)] == [
        chosen["align.sga_blocks"], chosen["align.spa_blocks"],
    ]  # fmt: skip
    said = run(
        "analyze", str(tmp_path / "run"), "--generated", "--out", str(tmp_path / "A"), "--clips", "1", "--steps", "2"
    )
    assert said["clips"] == 1
    made = json.loads((tmp_path / "A/analysis.json").read_text())
    assert made["generated"] and made["run"]
    (video,) = (tmp_path / "A/generated").glob("*.mp4")
    assert (video.with_suffix("").with_suffix(".tracks.npz")).exists()
    table = pq.read_table(tmp_path / "A/analysis.parquet")
    assert set(table["step"].to_pylist()) == {0, 1}
    assert torch.isfinite(torch.tensor(table["aas"].to_pylist())).all()


def test_a_pipeline_alone_is_analysed_by_the_recipe_of_its_kind(dataset: Path, tmp_path: Path) -> None:
    model = small_config(dataset, tmp_path / "run").model.path
    config, trained = subject_of(None, model, ["data.dataset=somewhere", "data.frames=9"])
    assert trained is None
    assert (config.model.path, config.data.dataset, config.data.frames) == (model, "somewhere", 9)
    assert (config.data.height, config.align.sga_blocks) == (480, (7, 11)), "the recipe's"


@pytest.mark.parametrize(("recipe", "generated"), [("tiny", True), ("tiny_wan21", False), ("tiny_wan22", True)])
def test_a_whole_run_on_a_pipeline_alone(dataset: Path, tmp_path: Path, recipe: str, generated: bool) -> None:
    """A folder of diffusers as it is, without a run of ours."""
    model = tmp_path / "model"
    changes = [*SMALL, f"data.dataset={dataset}", f"model.path={model}", f"train.out={tmp_path / 'run'}"]
    made = load_config(TINY.with_name(f"{recipe}.yaml"), changes)
    make_random_model(made)
    size = sets(
        [*SMALL[:4], f"data.dataset={dataset}", "model.precision=fp32", f"data.max_tokens={made.data.max_tokens}"]
    )
    words = ["--clips", "1", "--steps", "2", *(["--generated"] if generated else [])]
    said = run("analyze", "--model", str(model), *size, *words, "--out", str(tmp_path / "A"))
    table = pq.read_table(tmp_path / "A/analysis.parquet")
    assert (said["clips"], said["rows"]) == (1, table.num_rows)
    assert set(table["kind"].to_pylist()) == {"v2t", "v2v"}
    assert pc.min(table["aas"]).as_py() >= 0 and pc.max(table["mass"]).as_py() > 0
    assert (tmp_path / "A/report.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give a configuration or a run folder, or a pipeline by --model"),
        ([str(TINY), "--model", "x"], "give a configuration or a run folder, or a pipeline by --model"),
        (["tests"], "tests is not a run folder: it has no config.yaml"),
        ([str(TINY), "--keep-maps", "7"], "--keep-maps 7: write blocks@steps, as 7,11@0,25"),
        ([str(TINY), "--profile", "p.yaml"], "--profile names a tracker for clips that are made: give --generated too"),
        ([str(TINY), "--split", "test"], "--split test: give train or val"),
        ([str(TINY), "--set", "data.dataset=nowhere"], "nowhere"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], said: str) -> None:
    result = CliRunner().invoke(cli.app, ["analyze", *words])
    assert isinstance(result.exception, UserError | OSError), result.output
    assert said in str(result.exception)
