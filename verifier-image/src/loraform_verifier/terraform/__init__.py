"""Runs of terraform, and readers of its plans and diagnostics."""
