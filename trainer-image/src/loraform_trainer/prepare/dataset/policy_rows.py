"""Applies the house policy to training responses: rewrites them, or requires them to follow it."""

from __future__ import annotations

from loraform_api.dataset import PolicyTeaching
from loraform_api.verification import HousePolicy
from loraform_verifier.hcl.parse import Document
from loraform_verifier.policy.house_policy import check_house_policy
from loraform_verifier.policy.rewrite import rewrite


class PolicyTeacher:
    """Applies one run's house policy in one mode."""

    def __init__(self, policy: HousePolicy, mode: PolicyTeaching) -> None:
        self._policy = policy
        self._mode = mode
        # With Rewrite, judge only what a rewrite cannot fix.
        unfixable_tags = [tag for tag in policy.required_tags if tag not in policy.tags]
        judged = policy
        if mode is PolicyTeaching.REWRITE:
            judged = policy.model_copy(update={"comment": "", "tags": {}, "required_tags": unfixable_tags})
        self._judged_policy = judged
        self._judges = bool(judged.comment or judged.tags or judged.required_tags or judged.deny)

    def violation(self, document: Document) -> str | None:
        """Return the first violation that the rewriter does not fix; None when there is none."""
        if self._mode is PolicyTeaching.OFF or not self._judges:
            return None
        violations = check_house_policy(document, self._judged_policy).broken
        return f"{violations[0].code}: {violations[0].message}" if violations else None

    def rewritten(self, document: Document) -> str | None:
        """Return the response with comment and tags of the policy; None when this mode does not rewrite."""
        return rewrite(document, self._policy) if self._mode is PolicyTeaching.REWRITE else None
