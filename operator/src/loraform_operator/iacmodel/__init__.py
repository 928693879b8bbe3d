"""The IaCModel kind: which candidate goes live, and everything that serves it."""
