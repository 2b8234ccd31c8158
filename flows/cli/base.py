"""What the commands of `matrix_data` share: the app, options, exit codes and how an answer is printed."""

import json
import os
import sys
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from schemas.text import one_line, visible

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Raw videos to verified interaction shards.",
)
console = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of output.")]
Out = Annotated[str, typer.Argument(help="The folder given to build as --out.")]
Profile = Annotated[str, typer.Option(help="Name in profiles/, or path of a .yaml file.")]
Sets = Annotated[list[str], typer.Option("--set", help="One setting, a.b=c; may be repeated.")]

MISTAKE, PENDING, NOTHING, STOPPED = 2, 3, 4, 130


server_lost = False
"""Set where Prefect's server has gone: its client would go on for minutes, at exit, to hand it the last events."""


def leave(code: int) -> NoReturn:
    """End the process, at once where nobody is left to say goodbye to."""
    if server_lost:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def emit(found: dict[str, Any], as_json: bool, text: list[str]) -> None:
    """One JSON object as the last line, or lines for people."""
    if as_json:
        print(json.dumps(found, ensure_ascii=True), flush=True)
    else:
        for line in text:
            print(visible(line), flush=True)


def fail(message: str, code: int) -> NoReturn:
    """One line on stderr, whatever the message holds, and the exit code."""
    console.print(Text.assemble(("error:", "bold red"), " ", one_line(message, 1000)), soft_wrap=True)
    leave(code)
