"""Stage `report`: `report.html` in the out folder, from the funnel and the shards (docs/stages/report.md)."""

from tasks.report.page import ReportData, write_report
from tasks.spec import StageSpec, Work
from tasks.store.places import without_credentials


def _whole(work: Work) -> None:
    data = ReportData(
        funnel=work.funnel(),
        dataset=work.dataset,
        source=without_credentials(work.build.source),
        models=work.models,
        fingerprints=work.fingerprints,
        resume=work.resume,
    )
    write_report(data, work.out)


SPEC = StageSpec(name="report", version=None, whole=_whole)
