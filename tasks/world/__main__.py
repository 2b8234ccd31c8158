"""`python -m tasks.world --out DIR --videos N --seed S --level plain|hard [--no-broken] [--workers W]`."""

import argparse
import sys
from pathlib import Path

from tasks.errors import UserError
from tasks.world.bucket import render_bucket


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tasks.world", description="Render raw videos whose truth is known."
    )
    parser.add_argument("--out", type=Path, required=True, help="a new or empty folder")
    parser.add_argument("--videos", type=int, default=24, help="good videos; broken ones come on top")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--level", choices=("plain", "hard"), default="plain")
    parser.add_argument("--no-broken", dest="broken", action="store_false", help="leave the broken files out")
    parser.add_argument("--workers", type=int, default=1, help="videos rendered side by side")
    told = parser.parse_args()
    try:
        render_bucket(told.out, told.videos, told.seed, told.level, told.broken, told.workers)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(told.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
