"""Stage `publish`: writes the run's artifact into its store."""
