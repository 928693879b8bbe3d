"""Evaluation of Rego policies on plans, in a confined process."""
