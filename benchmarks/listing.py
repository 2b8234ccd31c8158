"""How fast a source is listed, and how much memory it takes: `python -m benchmarks.listing --files 1000000`.

The bucket is a server that makes up S3's pages as they are asked for, in a process of its own; the folder is a tree of
empty files, 1 000 a folder.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psutil

from tasks.scan.listing import ScanSettings, list_files

PAGE = 1000


class Pages(BaseHTTPRequestHandler):
    """`list_objects_v2` of a bucket with `total` objects below `raw/`."""

    total = 0
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        first = int(asked.get("continuation-token", ["0"])[0])
        last = min(first + PAGE, self.total)
        objects = "".join(
            f"<Contents><Key>raw/{n // PAGE:05d}/{n:09d}.mp4</Key><LastModified>2026-01-01T00:00:00Z</LastModified>"
            f"<ETag>&quot;{n:032x}&quot;</ETag><Size>{n + 1}</Size></Contents>"
            for n in range(first, last)
        )
        more = f"<NextContinuationToken>{last}</NextContinuationToken>" if last < self.total else ""
        truncated = str(last < self.total).lower()
        body = f"<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{objects}{more}</ListBucketResult>".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def serve(total: int, port: Any) -> None:
    Pages.total = total
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    port.put(server.server_port)
    server.serve_forever()


@contextmanager
def bucket(total: int) -> Iterator[str]:
    context = get_context("spawn")
    port = context.Queue()
    process = context.Process(target=serve, args=(total, port), daemon=True)
    process.start()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port.get()}", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    yield "s3://box/raw"
    process.terminate()
    process.join()


@contextmanager
def folder(total: int, width: int) -> Iterator[str]:
    root = Path(tempfile.mkdtemp(prefix="listing-"))
    for number in range(total):
        if number % width == 0:
            below = root / f"{number // width:05d}"
            below.mkdir()
        os.close(os.open(f"{below}/{number:09d}.mp4", os.O_CREAT | os.O_WRONLY))
    yield str(root)
    shutil.rmtree(root)


def measure(what: str, source: str, total: int) -> None:
    process = psutil.Process()
    found = list_files(source, ScanSettings())
    last = next(found).name
    start = most = process.memory_info().rss
    began, count = time.perf_counter(), 1
    for file in found:
        count += 1
        assert file.name > last
        last = file.name
        if count % 10_000 == 0:
            most = max(most, process.memory_info().rss)
    seconds = time.perf_counter() - began
    assert count == total
    print(f"{what}: {count} files in {seconds:.1f} s ({count / seconds:.0f}/s), {(most - start) / 2**20:.1f} MiB above")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1_000_000)
    total = parser.parse_args().files
    with bucket(total) as source:
        measure("s3", source, total)
    for width in (1000, total):
        with folder(total, width) as source:
            measure(f"local, {width} a folder", source, total)


if __name__ == "__main__":
    main()
