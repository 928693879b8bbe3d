"""The FineTuneJob kind: one bounded run of stages."""
