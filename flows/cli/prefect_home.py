"""Prefect without a server started by hand: its own, in-process, with its database inside the out folder.

Call `use_local_prefect` before the first import of `prefect`; it does nothing where the user has set Prefect up.
"""

import os
from pathlib import Path
from urllib.parse import quote

from tasks.store.places import printable

SETTINGS = {
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLI_COLORS": "false",
    "DO_NOT_TRACK": "1",
    # Task runs are recorded up to a hundred states at a time, not one: half of the server's work a task.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    # A server that lives as long as one build has no automations to trigger.
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
}


def use_local_prefect(out: str, verbose: bool) -> None:
    """Point Prefect's home at `<out>/work/prefect` unless a server, a profile or a home is configured already.

    Beside an `out` that is remote, or that no URL can name since it is no UTF-8, it lies under `build/`.
    """
    configured = bool({"PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_HOME"} & set(os.environ))
    configured |= (Path.home() / ".prefect" / "profiles.toml").exists()
    # Prefect logs a traceback for every exception that leaves a flow; the command line prints its own one line. A
    # server that outlives the build gets the log all the same.
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO" if verbose or configured else "CRITICAL")
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "INFO" if verbose else "CRITICAL")
    # At exit the in-process server cancels its own writers in the middle of the last events, and logs each as an error.
    os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "WARNING" if verbose else "CRITICAL")
    os.environ.setdefault("PREFECT_LOGGING_INTERNAL_LEVEL", "ERROR" if verbose else "CRITICAL")
    # A server that has died is told after seconds and not minutes: what is done stands in the store.
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "2")
    if configured:
        return
    local = "://" not in out and out == printable(out)
    home = (Path(out) if local else Path("build")).absolute() / "work" / "prefect"
    home.mkdir(parents=True, exist_ok=True)
    os.environ["PREFECT_HOME"] = str(home)
    if not {"PREFECT_API_DATABASE_CONNECTION_URL", "PREFECT_SERVER_DATABASE_CONNECTION_URL"} & set(os.environ):
        # Prefect puts its home into this URL as it is; there a "?" in a folder's name ends the path, "%20" is a space.
        url = f"sqlite+aiosqlite:///{quote(str(home))}/prefect.db"
        os.environ["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = url
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
