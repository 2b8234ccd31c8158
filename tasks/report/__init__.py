"""Stage `report`: one self-contained page about a build and its dataset (docs/stages/report.md)."""

from tasks.report.page import ReportData, StageLine, write_report

__all__ = ["ReportData", "StageLine", "write_report"]
