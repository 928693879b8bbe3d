"""Repair rows: a program with one mistake, what the verifier reports, and the correct program."""
