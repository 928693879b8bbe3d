"""Stages `evaluate` and `baseline`: generate answers to held-out prompts, verify them, and compare the arms."""
