"""What can go wrong before the first clip, found before Prefect starts."""

from flows.context import Context
from flows.grants import grant_credentials
from flows.legs import SPECS
from flows.settings import BuildSettings
from tasks.errors import UserError
from tasks.select.names import Names
from tasks.select.stage import captions_of
from tasks.store.lock import build_lock


def preflight(settings: BuildSettings) -> None:
    """Check source, captions, engines, the out folder and its lock. UserError for the first that is wrong."""
    grant_credentials(settings)
    context = Context(settings)
    if not context.listing:
        some = ", ".join(settings.scan.extensions[:8])
        raise UserError(f"no video files under {settings.source} ({some}, …; scan.extensions has all endings)")
    captions_of(settings, Names(file.name for file in context.listing.values()))
    for stage in context.ahead():
        for kind in SPECS[stage].engines:
            context.engine(kind)  # cheap: files and packages are looked for, weights come later
    try:
        with build_lock(settings.out):
            pass
    except OSError as error:
        raise UserError(f"cannot write to {settings.out}: {error.strerror or error}; give another --out") from None
