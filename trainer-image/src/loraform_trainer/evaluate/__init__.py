"""Stages `evaluate` and `baseline`: answers to held-out prompts, judged and compared."""
