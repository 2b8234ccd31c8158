"""How long the pages of Prefect's UI wait for its API: the requests that they send (seen in Chromium, Prefect 3.9)."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

Asked = list[tuple[str, str, dict[str, Any]]]
"""Method, path and body of each request of a page."""


def slowest(api: str, rounds: int = 3) -> dict[str, float]:
    """Seconds of the slowest answer by page; of several rounds the quickest counts, for others use the machine too."""
    with httpx.Client(base_url=api, timeout=120) as client:
        return {name: min(_answers(client, asked) for _ in range(rounds)) for name, asked in _pages(client).items()}


def _answers(client: httpx.Client, asked: Asked) -> float:
    took = []
    for method, path, body in asked:
        began = time.perf_counter()
        client.request(method, path, json=body if method == "POST" else None).raise_for_status()
        took.append(time.perf_counter() - began)
    return round(max(took), 3)


def _pages(client: httpx.Client) -> dict[str, Asked]:
    """The dashboard, the list of runs, the run of a build and that of one of its chunks, the artifacts."""
    now = datetime.now(UTC)
    day = {"after_": (now - timedelta(days=1)).isoformat(), "before_": now.isoformat()}
    build, chunk = (
        client.post("/flow_runs/filter", json={"flow_runs": {"name": {"like_": name}}, "limit": 1}).json()[0]
        for name in ("build ", "chunk 00000: caption")
    )
    return {
        "dashboard": _dashboard(day),
        "runs": [
            ("POST", "/flow_runs/count", {}),
            ("POST", "/task_runs/count", {}),
            ("POST", "/ui/flow_runs/history", {"flow_runs": {"start_time": day}, "limit": 100}),
            ("POST", "/flow_runs/paginate", {"flow_runs": {"start_time": day}, "limit": 100, "page": 1}),
            ("POST", "/task_runs/paginate", {"task_runs": {"expected_start_time": day}, "limit": 100, "page": 1}),
            ("POST", "/flow_runs/filter", {}),
        ],
        "run of a build": _run(build["id"]),
        "run of a chunk": _run(chunk["id"]),
        "artifacts": [
            ("POST", f"/artifacts/latest/{what}", {"artifacts": {"key": {"exists_": True}}})
            for what in ("filter", "count")
        ],
    }


def _dashboard(day: dict[str, str]) -> Asked:
    runs = {"expected_start_time": day}
    tasks = {"start_time": day, "subflow_runs": {"exists_": False}}
    span = {"history_start": day["after_"], "history_end": day["before_"], "history_interval_seconds": 4320}
    return [
        ("POST", "/flow_runs/filter", {"flow_runs": runs, "sort": "START_TIME_DESC", "limit": 58}),
        *(
            ("POST", "/flow_runs/count", {"flow_runs": {**runs, "state": {"type": {"any_": [state]}}}})
            for state in ("COMPLETED", "FAILED", "RUNNING", "SCHEDULED", "CANCELLED")
        ),
        *(
            ("POST", "/task_runs/count", {"task_runs": {**tasks, "state": {"type": {"any_": [state]}}}})
            for state in ("COMPLETED", "FAILED", "RUNNING")
        ),
        ("POST", "/task_runs/history", {**span, "flow_runs": {}, "task_runs": {"start_time": day}}),
        ("POST", "/work_pools/filter", {}),
    ]


def _run(run: str) -> Asked:
    mine = {"flow_runs": {"id": {"any_": [run]}}}
    return [
        ("GET", f"/flow_runs/{run}", {}),
        ("GET", f"/flow_runs/{run}/graph-v2", {}),
        ("POST", "/task_runs/count", mine),
        ("POST", "/logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC", "limit": 200}),
        ("POST", "/task_runs/filter", {**mine, "sort": "EXPECTED_START_TIME_DESC", "limit": 200}),
        ("POST", "/flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [run]}}, "limit": 200}),
        ("POST", "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}, "limit": 200}),
    ]
