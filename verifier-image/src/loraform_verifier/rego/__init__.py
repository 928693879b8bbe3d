"""Rego policies over a plan, in a confined process."""
