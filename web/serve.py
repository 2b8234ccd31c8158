"""`matrix_data review` and `explore`: the apps under uvicorn, on loopback unless told otherwise."""

import ipaddress
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from tasks.errors import UserError

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def names_of(host: str, more: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The names that a server on `host` answers to; `more` are those that people know it by."""
    return tuple(dict.fromkeys((*LOOPBACK, host, *more)))


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve(app: FastAPI, host: str, port: int, say: Callable[[str], None]) -> None:
    """Run until Ctrl-C. UserError where the port is taken. Requests are not logged: addresses may hold a token."""
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise UserError(f"cannot listen on {host}:{port}: {error.strerror}; give another --port") from None
    with listening:
        shown = f"[{host}]" if ":" in host else host
        say(f"http://{shown}:{listening.getsockname()[1]}/")
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
        uvicorn.Server(config).run(sockets=[listening])
