"""The house policy in training answers: put in, or asked for."""

from __future__ import annotations

from loraform_api.dataset import PolicyTeaching
from loraform_api.verification import HousePolicy
from loraform_verifier.hcl.parse import Document
from loraform_verifier.policy.house_policy import check_house_policy
from loraform_verifier.policy.rewrite import rewrite


class Teacher:
    """One run's policy and how answers come to keep it."""

    def __init__(self, policy: HousePolicy, mode: PolicyTeaching) -> None:
        self._policy = policy
        self._mode = mode
        # What a rewrite cannot put right; the rest would only be judged to be rewritten.
        left = [tag for tag in policy.required_tags if tag not in policy.tags]
        self._asked = policy
        if mode is PolicyTeaching.REWRITE:
            self._asked = policy.model_copy(update={"comment": "", "tags": {}, "required_tags": left})
        self._judges = bool(self._asked.comment or self._asked.tags or self._asked.required_tags or self._asked.deny)

    def objection(self, document: Document) -> str | None:
        """Say what of the policy the answer breaks and will not be put right; None when nothing is known to be."""
        if self._mode is PolicyTeaching.OFF or not self._judges:
            return None
        broken = check_house_policy(document, self._asked).broken
        return f"{broken[0].code}: {broken[0].message}" if broken else None

    def taught(self, document: Document) -> str | None:
        """Return the answer as the house wants to see it; None where it stays as it is."""
        return rewrite(document, self._policy) if self._mode is PolicyTeaching.REWRITE else None
