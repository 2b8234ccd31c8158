"""Stage `report`: `report.html` in the out folder, from the funnel and the shards (docs/stages/report.md)."""

from tasks.report.page import REPORT_FILE, ReportData, write_report
from tasks.spec import StageSpec, Whole


def _whole(work: Whole) -> list[str]:
    funnel = work.funnel()
    data = ReportData(
        funnel=funnel,
        dataset=work.dataset,
        source=work.build.source,
        models=work.models,
        fingerprints=work.fingerprints,
        meanings={(t.stage, code): work.meaning(t.stage, code) for t in funnel for code in t.rejected},
        remarks=work.remarks,
        resume=work.resume,
    )
    write_report(data, work.out)
    return []


SPEC = StageSpec(name="report", version=None, whole=_whole, stale=lambda work: not work.out.exists(REPORT_FILE))
