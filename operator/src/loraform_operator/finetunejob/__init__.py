"""The FineTuneJob kind: one bounded run of stages."""

from loraform_operator.finetunejob.reconcile import reconcile as reconcile
