"""`matrix_data review` and `explore`: the apps under uvicorn, on loopback unless told otherwise."""

import ipaddress
import socket
from collections.abc import Callable, Sequence

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


def config_of(app: FastAPI, proxies: Sequence[str] = ()) -> uvicorn.Config:
    """How uvicorn runs an app. proxies: addresses or networks of those whose X-Forwarded-Proto and -For are believed.

    Requests are not logged: addresses may hold a token. UserError for what is no address.
    """
    for proxy in proxies:
        try:
            ipaddress.ip_network(proxy)
        except ValueError:
            raise UserError(f"--proxy {proxy!r}: an address as 127.0.0.1, or a network as 10.0.0.0/8") from None
    return uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False,
        proxy_headers=bool(proxies), forwarded_allow_ips=list(proxies),
    )  # fmt: skip


def serve(app: FastAPI, host: str, port: int, say: Callable[[str], None], proxies: Sequence[str] = ()) -> None:
    """Run until Ctrl-C, behind these proxies (`config_of`). UserError where the port is taken."""
    config = config_of(app, proxies)
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise UserError(f"cannot listen on {host}:{port}: {error.strerror}; give another --port") from None
    with listening:
        shown = f"[{host}]" if ":" in host else host
        say(f"http://{shown}:{listening.getsockname()[1]}/")
        uvicorn.Server(config).run(sockets=[listening])
