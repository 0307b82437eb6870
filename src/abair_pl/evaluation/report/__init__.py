"""A benchmark's results as tables, figures and one HTML page, beside the paper's published figures."""

from abair_pl.evaluation.report.write import write_report

__all__ = ["write_report"]
