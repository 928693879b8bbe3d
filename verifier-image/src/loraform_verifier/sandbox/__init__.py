"""Hostile work in confined child processes."""
