"""What the tier shares: this machine's toolchain, and how its tests are dealt out to workers."""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadScopeScheduling

from loraform_verifier.terraform.toolchain import Terraform, ToolchainError, discover

CLUSTER = "tests/integration/cluster/"


class ByFile(LoadScopeScheduling):  # type: ignore[misc]
    """Each file to one worker, and all files of the cluster to the same: there is one cluster."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return CLUSTER if file.startswith(CLUSTER) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile:
    return ByFile(config, log)


@pytest.fixture(scope="session")
def terraform() -> Terraform:
    """The toolchain of this machine."""
    try:
        return discover()
    except ToolchainError as error:
        pytest.skip(str(error))
