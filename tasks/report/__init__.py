"""One self-contained page about a build and its dataset (docs/stages/report.md)."""
