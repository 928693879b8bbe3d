"""Renders `reports/evaluation.html`, the evaluation's report for people. Pure."""
