"""The IaCModel kind: which candidate goes live, and everything that serves it."""

from loraform_operator.iacmodel.reconcile import reconcile

__all__ = ["reconcile"]
