"""What can go wrong before the first clip, found before Prefect starts."""

from flows.context import Plan
from flows.intake import captions_of
from flows.settings import BuildSettings
from tasks.errors import UserError
from tasks.select.names import Names
from tasks.store.lock import build_lock


def preflight(settings: BuildSettings) -> None:
    """Check source, captions, engines, the out folder and its lock. UserError for the first that is wrong."""
    plan = Plan(settings)
    if not plan.listing:
        raise UserError(f"no video files under {settings.source} ({', '.join(settings.scan.extensions)})")
    captions_of(plan, Names(file.name for file in plan.listing.values()))
    _ = plan.fingerprints  # loads the engines
    try:
        with build_lock(settings.out):
            pass
    except OSError as error:
        raise UserError(f"cannot write to {settings.out}: {error.strerror or error}; give another --out") from None
