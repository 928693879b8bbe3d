"""Layout of a program that is planned alone, with the verifier's provider settings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from loraform_verifier.hcl.normalise import Normalised
from loraform_verifier.terraform.toolchain import Terraform
from loraform_verifier.terraform.workspace import CONFIGURATION, OUR_FILE, lay_out_alone


def lay_out_plan_alone(root: Path, terraform: Terraform, program: Normalised, **settings: Any) -> None:
    """Write `root` with the program as the root module and each AWS configuration with ours and `settings`."""
    lay_out_alone(root, terraform, replace(program, written={}))
    ours = json.loads((root / OUR_FILE).read_text())
    if "aws" in program.needs:
        aliases = [{}, *({"alias": alias} for name, alias in sorted(program.aliases) if name == "aws")]
        ours["provider"] = {"aws": [CONFIGURATION["aws"] | settings | alias for alias in aliases]}
    (root / OUR_FILE).write_text(json.dumps(ours))
