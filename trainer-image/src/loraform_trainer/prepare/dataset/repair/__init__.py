"""Repair rows: the input is a broken program with the verifier's findings, the answer is the correct program."""
