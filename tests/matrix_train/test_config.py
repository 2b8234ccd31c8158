"""Configuration files, `--set`, and what is wrong said in a line."""

from pathlib import Path

import pytest

from matrix_train.config import Config, dump_config, load_config
from matrix_train.errors import UserError
from tests.matrix_train.fitting import TINY

FILES = sorted(TINY.parent.glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_key_is_written_out_with_its_meaning(path: Path) -> None:
    text = path.read_text()
    head, blank, body = text.partition("\n\n")
    assert blank
    assert all(line.startswith("#") for line in head.splitlines())
    assert body == dump_config(load_config(path, []))


def test_the_papers_recipe() -> None:
    config = load_config(TINY.parent / "cogvideox_5b_i2v.yaml", [])
    assert (config.lora.blocks, config.lora.rank, config.lora.alpha) == ((7, 11, 12), 128, 64)
    assert (config.align.sga_blocks, config.align.spa_blocks) == ((7, 11), (12,))
    assert (config.data.frames, config.data.height, config.data.width, config.train.steps) == (49, 480, 720, 4000)
    assert (config.align.sga, config.align.spa, config.align.attention_map) == (0.01, 0.005, "centred")


def test_set_goes_over_the_file_and_the_whole_is_saved(tmp_path: Path) -> None:
    config = load_config(TINY, ["lora.rank=4", "align.bce=0.5", "log.to=[]"])
    assert (config.lora.rank, config.align.bce, config.log.to) == (4, 0.5, ())
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config))
    assert load_config(path, []) == config


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("lora.rnak=4", "lora.rnak: unknown setting: did you mean lora.rank?"),
        ("trian.steps=4", "trian: unknown setting: did you mean train?"),
        ("lora.rank=0", "lora.rank"),
        ("lora.rank", "section.name=value"),
        ("align.sga_blocks=[]", "align.sga is 0.3, but align.sga_blocks is empty"),
        ("validation.timesteps=[1000]", "between 0 and 999"),
        ("align.supervise_stride=3", "align.supervise_stride"),
        ("{train.cache: x}", "section.name=value"),
    ],
)
def test_what_is_wrong_is_named(override: str, words: str) -> None:
    with pytest.raises(UserError) as error:
        load_config(TINY, [override])
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "override",
    [
        "data.dataset=s3://AKIA:hunter2@bucket/set",
        "data.dataset=https://host/set?X-Amz-Signature=hunter2",
        "data.storage_options={anon: false, secret: hunter2}",
        "data.storage_options={endpoint_url: 'https://me:hunter2@host'}",
    ],
)
def test_a_secret_would_go_on_record_and_is_not_repeated(override: str) -> None:
    with pytest.raises(UserError, match="environment") as error:
        load_config(TINY, [override])
    assert "hunter2" not in str(error.value) and "\n" not in str(error.value)


def test_a_cache_and_mirroring_exclude_each_other() -> None:
    with pytest.raises(UserError, match=r"data\.flip=0 or train\.cache=null"):
        load_config(TINY, ["train.cache=x", "data.flip=0.5"])


@pytest.mark.parametrize("content", ["a: [", "- 1", "\xff", None])
def test_a_file_that_is_no_configuration(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "c.yaml"
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match="config "):
        load_config(path, [])


def test_sampled_videos_need_the_whole_model() -> None:
    with pytest.raises(UserError, match=r"validation\.videos=0"):
        load_config(TINY, ["train.parallel=fsdp", "validation.videos=1"])
    assert isinstance(load_config(TINY, ["train.parallel=fsdp", "validation.videos=0"]), Config)
