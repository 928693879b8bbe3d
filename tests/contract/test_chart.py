"""The chart as rendered by Helm: golden files, values schema, RBAC, pod security.

`python tests/contract/test_chart.py` rewrites the golden files; review the diff before you commit it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from loraform_api import __version__, names
from loraform_devcluster.binaries import Binaries
from loraform_devcluster.layout import CHECKOUT, DEFAULT_STATE, Layout, default_cache
from loraform_devcluster.progress import Progress
from loraform_operator.__main__ import NAME
from loraform_operator.endpoint.publication import SECRET_SUFFIX, SLICE_SUFFIX
from loraform_operator.pods.networkpolicy import OPERATOR_NAME
from loraform_operator.settings import ImageSettings, Profile, Settings

CHART = CHECKOUT / "charts" / "loraform"
HERE = Path(__file__).parent / "chart"
VALUES = sorted((HERE / "values").glob("*.yaml"))


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run helm from PATH, or devcluster's, which is built once and cached."""
    binary = shutil.which("helm") or Binaries(Layout(CHECKOUT, default_cache(), DEFAULT_STATE), Progress()).path("helm")
    return subprocess.run([str(binary), *arguments], capture_output=True, text=True, check=False)


def render(*arguments: str, release: str = "loraform") -> str:
    """Return the rendered chart; fails with Helm's message."""
    result = helm("template", release, str(CHART), "--namespace=loraform-system", "--kube-version=1.33.0", *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def objects(*arguments: str, release: str = "loraform") -> list[dict[str, Any]]:
    """Return the rendered objects."""
    return [document for document in yaml.safe_load_all(render(*arguments, release=release)) if document]


def one(kind: str, rendered: list[dict[str, Any]], name: str = "loraform-operator") -> dict[str, Any]:
    """Return the only object of that kind and name."""
    [match] = [o for o in rendered if o["kind"] == kind and o["metadata"]["name"] == name]
    return match


def golden(values: Path) -> str:
    """Render one value set without the CRDs, which are compared with their source instead."""
    return render(f"--values={values}", "--set=crds.enabled=false")


@pytest.mark.parametrize("values", VALUES, ids=lambda p: p.stem)
def test_the_rendered_chart_is_the_golden_file(values: Path) -> None:
    assert golden(values) == (HERE / "golden" / values.name).read_text()


@pytest.mark.parametrize("values", VALUES, ids=lambda p: p.stem)
def test_helm_lint_is_strict_and_clean(values: Path) -> None:
    answer = helm("lint", "--strict", str(CHART), f"--values={values}")
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("values", VALUES, ids=lambda p: p.stem)
def test_the_operator_reads_the_configuration(values: Path) -> None:
    data = one("ConfigMap", objects(f"--values={values}", "--set=crds.enabled=false"))["data"]
    Settings.model_validate(yaml.safe_load(data["operator.yaml"]))


@pytest.mark.parametrize("values", VALUES, ids=lambda p: p.stem)
def test_the_operators_pod_is_restricted(values: Path) -> None:
    deployment = one("Deployment", objects(f"--values={values}", "--set=crds.enabled=false"))
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize(
    "wrong",
    [
        "unknown=1",
        "images.operator.digest=sha256:12",
        "images.operator.name=x",
        "profiles.cpu.engineDtype=float8",
        "profiles.cpu.image=x",
        "settings.threads=4",
        "logLevel=verbose",
        "crds.install=true",
        "replicas=0",
        "leaseSeconds=2",
    ],
)
def test_a_wrong_value_is_refused(wrong: str) -> None:
    assert helm("template", "loraform", str(CHART), f"--set={wrong}").returncode != 0


def test_the_schema_has_every_setting_of_the_operator() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]
    profile = schema["profiles"]["additionalProperties"]["properties"]
    assert set(profile) == {field.alias for field in Profile.model_fields.values()}
    read = {field.alias for field in Settings.model_fields.values()} - {"images", "profiles"}
    assert set(schema["settings"]["properties"]) == read
    assert set(schema["images"]["properties"]) == {*ImageSettings.model_fields, "operator"}


def test_a_digest_precedes_a_tag_and_a_tag_the_version() -> None:
    digest = "sha256:" + "a" * 64
    sets = [f"--set=images.operator.digest={digest}", "--set=images.operator.tag=v1", "--set=images.trainer.tag=v2"]
    rendered = objects(*sets, "--set=crds.enabled=false")
    [container] = one("Deployment", rendered)["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"ghcr.io/loraform/operator@{digest}"
    settings = yaml.safe_load(one("ConfigMap", rendered)["data"]["operator.yaml"])
    assert settings["images"]["trainer"] == "ghcr.io/loraform/trainer:v2"
    assert settings["images"]["verifier"].endswith(
        ":" + yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    )


def test_chart_images_and_distribution_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert chart["version"] == chart["appVersion"] == project["version"] == __version__


@pytest.mark.parametrize("path", sorted((CHECKOUT / "crds").glob("*.yaml")), ids=lambda p: p.name)
def test_the_chart_carries_the_generated_crds_and_keeps_them(path: Path) -> None:
    crd = yaml.safe_load(path.read_text())
    found = one("CustomResourceDefinition", objects("--show-only=templates/crds.yaml"), crd["metadata"]["name"])
    assert found["spec"] == crd["spec"]
    assert found["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_the_service_of_the_endpoint_has_no_selector() -> None:
    service = one("Service", objects("--set=crds.enabled=false"), names.SERVICE_OPERATOR)
    assert "selector" not in service["spec"]
    assert [port["port"] for port in service["spec"]["ports"]] == [names.PORT_OPERATOR]


def test_pods_egress_policies_find_the_operator_by_its_label() -> None:
    labels = one("Deployment", objects("--set=crds.enabled=false"))["spec"]["template"]["metadata"]["labels"]
    assert labels[names.LABEL_NAME] == OPERATOR_NAME


def rules(rendered: list[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    """Return the rules of all roles of these kinds that are the operator's own."""
    operators = [o for o in rendered if o["kind"] in kinds and o["metadata"]["name"].startswith("loraform-operator")]
    return [rule for role in operators for rule in role["rules"]]


@pytest.mark.parametrize("values", VALUES, ids=lambda p: p.stem)
def test_no_rule_has_a_wildcard(values: Path) -> None:
    rendered = objects(f"--values={values}", "--set=crds.enabled=false")
    for rule in rules(rendered, "Role", "ClusterRole"):
        arguments = {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
        assert not arguments & {"*", "escalate", "bind", "impersonate", "pods/exec", "pods/log", "deletecollection"}


def test_secrets_are_read_in_the_operators_namespace_only() -> None:
    rendered = objects("--set=crds.enabled=false")
    assert not [rule for rule in rules(rendered, "ClusterRole") if "secrets" in rule["resources"]]
    [own] = [rule for rule in rules(rendered, "Role") if "secrets" in rule["resources"]]
    assert own["resourceNames"] == [f"loraform-operator{SECRET_SUFFIX}"]


def test_the_lease_and_the_endpoint_are_written_by_name() -> None:
    rendered = objects("--set=crds.enabled=false")
    for resource, name in (("leases", "loraform-operator"), ("endpointslices", f"loraform-operator{SLICE_SUFFIX}")):
        [rule] = [rule for rule in rules(rendered, "Role", "ClusterRole") if resource in rule["resources"]]
        assert (rule["resourceNames"], rule["verbs"]) == ([name], ["get", "create", "patch"])


def test_two_pods_share_a_lease_and_one_is_always_left() -> None:
    rendered = objects("--set=crds.enabled=false")
    deployment, budget = one("Deployment", rendered), one("PodDisruptionBudget", rendered)
    pod = deployment["spec"]["template"]["spec"]
    assert deployment["spec"]["replicas"] == 2
    assert budget["spec"] == {"maxUnavailable": 1, "selector": deployment["spec"]["selector"]}
    assert {"--name=loraform-operator", "--lease-seconds=15"} <= set(pod["containers"][0]["args"])
    [spread] = pod["topologySpreadConstraints"]
    assert spread["whenUnsatisfiable"] == "ScheduleAnyway", "one node is enough"
    assert spread["labelSelector"] == deployment["spec"]["selector"]


def test_one_pod_has_no_budget_that_would_block_drains() -> None:
    kinds = {o["kind"] for o in objects("--set=crds.enabled=false,replicas=1")}
    assert "PodDisruptionBudget" not in kinds


def test_two_releases_stand_side_by_side() -> None:
    once = "--set=crds.enabled=false,userRoles.create=false"
    pairs = [objects(once, f"--set=watchNamespaces={{{team}}}", release=team) for team in ("team-a", "team-b")]
    first, second = ({(o["kind"], o["metadata"]["name"]) for o in rendered} for rendered in pairs)
    assert first & second == set()
    assert len(first) == len(second)


@pytest.mark.parametrize("release", ["a", "x" * 53, "y" * 45 + "-" + "z" * 7])
def test_a_release_of_any_length_has_names_that_fit(release: str) -> None:
    rendered = objects("--set=crds.enabled=false,userRoles.create=false", release=release)
    assert all(len(o["metadata"]["name"]) <= 63 for o in rendered if o["kind"] == "Service")
    [deployment] = [o for o in rendered if o["kind"] == "Deployment"]
    [argument] = [a for a in deployment["spec"]["template"]["spec"]["containers"][0]["args"] if "--name=" in a]
    assert re.fullmatch(NAME, argument.removeprefix("--name="))


def test_claims_are_never_changed_or_deleted() -> None:
    for rule in rules(objects("--set=crds.enabled=false"), "Role", "ClusterRole"):
        if "persistentvolumeclaims" in rule["resources"]:
            assert set(rule["verbs"]) == {"get", "list", "watch", "create"}


def test_watched_namespaces_need_no_cluster_role() -> None:
    rendered = objects("--set=crds.enabled=false,userRoles.create=false", "--set=watchNamespaces={a,b}")
    assert not [o for o in rendered if o["kind"] == "ClusterRole"]
    assert {o["metadata"]["namespace"] for o in rendered if o["kind"] == "Role"} == {"a", "b", "loraform-system"}
    [binding] = [o for o in rendered if o["kind"] == "ClusterRoleBinding"]
    assert binding["roleRef"]["name"] == "system:service-account-issuer-discovery"


def test_only_the_operators_account_is_bound() -> None:
    for binding in (o for o in objects("--set=crds.enabled=false") if o["kind"].endswith("Binding")):
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": "loraform-operator", "namespace": "loraform-system"}
        ]


if __name__ == "__main__":
    for path in VALUES:
        (HERE / "golden" / path.name).write_text(golden(path))
