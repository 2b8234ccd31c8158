"""The command that goes on with a build is the one that made it."""

import shlex

from flows.resume import resume_command
from flows.settings import BuildSettings, load_settings


def again(settings: BuildSettings) -> BuildSettings:
    """What the resume command means to the command line."""
    words = shlex.split(resume_command(settings))
    assert words[:2] == ["matrix_data", "build"]
    source, rest = words[2], words[3:]
    values = [(rest[i], rest[i + 1]) for i in range(0, len(rest), 2)]
    options = dict(values)
    sets = [value for name, value in values if name == "--set"]
    return load_settings("local", sets, source=source, captions=options.get("--captions"), out=options["--out"])


def test_it_leads_to_the_same_settings():
    sets = [
        "ingest.height=240", "ingest.encode.crf=23", "run.workers=1", "verify.drop_policy=clip", "sidecar.license=null",
        "sidecar.columns={video: file, caption: the words}", "scan.storage_options={anon: true}",
        'scan.extensions=[".mp4", ".it\'s"]', "engines.captioner={name: openai, options: {model: a b}}",
        "engines.language={name: openai, options: {url: 'http://127.0.0.1:8000/v1', model: m}}",
    ]  # fmt: skip
    settings = load_settings("local", sets, source="raw <id1>", captions="a b.csv", out="out")
    assert again(settings) == settings
    assert "--set ingest.height=240" in resume_command(settings)


def test_it_is_short_where_nothing_was_set():
    settings = BuildSettings(source="raw", captions="raw/captions.csv", out="out")
    assert resume_command(settings) == "matrix_data build raw --captions raw/captions.csv --out out"
