"""The stages of verification: what each asks of the programs that reach it."""
