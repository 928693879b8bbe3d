"""Everything that runs terraform, and what is read from its plans and diagnostics."""
