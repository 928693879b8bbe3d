"""Schemas of providers, and the Schema stage, which checks programs against them without Terraform."""
