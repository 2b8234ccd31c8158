"""What can go wrong before the first clip, found before Prefect starts."""

from flows.context import Context
from flows.legs import RECORDED, SPECS
from flows.opened import check_out
from flows.settings import BuildSettings
from tasks.errors import UserError
from tasks.select.names import Names
from tasks.select.stage import captions_of
from tasks.store.lease import alone


def preflight(settings: BuildSettings) -> None:
    """Check the out folder, source, captions, engines and the lease. UserError for the first that is wrong."""
    check_out(settings)
    context = Context(settings)
    if next(context.list_source(), None) is None:
        some = ", ".join(settings.scan.extensions[:8])
        raise UserError(f"no video files under {settings.source} ({some}, …; scan.extensions has all endings)")
    stale = SPECS["select"].stale
    if stale and stale(context.at_work("select")):
        captions_of(
            settings, Names(())
        )  # read to its end, for a table that is damaged there would be found hours later
    survey = context.survey()
    for stage in survey.ahead(RECORDED) if survey.begun(RECORDED[0]) else RECORDED:
        for kind in SPECS[stage].engines:
            context.engine(kind)  # cheap: files and packages are looked for, weights come later
    try:
        with alone(settings.out):
            pass
    except OSError as error:
        raise UserError(f"cannot write to {settings.out}: {error.strerror or error}; give another --out") from None
