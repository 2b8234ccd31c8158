"""What the commands of `matrix_train` share: where they speak, and the one object that `--json` prints."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console

console = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of output.")]


def emit(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(found))
