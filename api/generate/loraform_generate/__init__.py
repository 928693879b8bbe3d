"""Generates CRDs and documentation from `loraform_api`; it is in no image."""
