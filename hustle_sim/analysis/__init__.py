"""Runs: events as DataFrames, their metrics, and (in ``figures``) their pictures. Simulated or live alike."""

from hustle_sim.analysis.metrics import METRICS, Metric, format_metric
from hustle_sim.analysis.run import Run

__all__ = ["METRICS", "Metric", "Run", "format_metric"]
