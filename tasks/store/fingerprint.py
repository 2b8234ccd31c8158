"""A stage's fingerprint: change anything that could change its rows, and it and all after it are done anew."""

import hashlib
import json
from collections.abc import Sequence

from schemas import SCHEMA_VERSION
from schemas.settings import Settings


def fingerprint(stage: str, version: int, settings: Settings, engines: Sequence[str], upstream: str) -> str:
    """12 hex digits over the stage's code version, settings, schema version, engine identities and upstream's print.

    `version` is raised by whoever changes what a stage's own code writes. No secret stands in settings or identities.
    """
    parts = {
        "stage": stage,
        "version": version,
        "schema": SCHEMA_VERSION,
        "settings": settings.model_dump(mode="json", exclude=set(settings.not_in_rows)),
        "engines": list(engines),
        "upstream": upstream,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=True).encode()).hexdigest()[:12]
