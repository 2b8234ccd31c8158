"""Whether the service in this container does its work: exit 0, or a traceback.

python docker/health.py http://127.0.0.1:4200/api/ready     answers an HTTP request: server and workers
python docker/health.py docket                              beats in Redis: Prefect's background services
"""

import os
import socket
import sys
import time
from urllib.request import urlopen

OLDEST_S = 60
"""A service beats every 2 s; only one that hangs is silent for so long."""


def beats() -> None:
    """The services of this host are among the docket's workers, and not from long ago. AssertionError otherwise."""
    import redis  # as long to import as the other check takes

    client = redis.Redis.from_url(os.environ["PREFECT_SERVER_DOCKET_URL"], decode_responses=True)
    seen = dict(client.zrange("prefect:workers", 0, -1, withscores=True))
    ours = [at for name, at in seen.items() if name.startswith(f"{socket.gethostname()}#")]
    assert ours and time.time() - max(ours) < OLDEST_S, f"no beat of {socket.gethostname()} in {OLDEST_S} s: {seen}"


if sys.argv[1] == "docket":
    beats()
else:
    urlopen(sys.argv[1], timeout=5).close()
