"""Which modules a program may call."""

from __future__ import annotations

from pathlib import Path

import pytest

from loraform_api.verification import Program
from loraform_verifier.hcl.configuration import read_program, resolve_folder
from loraform_verifier.hcl.modules import modules_of
from loraform_verifier.hcl.normalise import normalise

HOST = "registry.terraform.io"


def call(source: str, version: str = "") -> str:
    line = f'  version = "{version}"\n' if version else ""
    return f'module "m" {{\n  source = "{source}"\n{line}}}\n'


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    for version in ("5.1.0", "5.9.2", "5.10.0", "6.0.0"):
        folder = tmp_path / HOST / "acme/vpc/aws" / version
        (folder / "modules/inner").mkdir(parents=True)
        (folder / "main.tf").write_text('module "inner" {\n  source = "./modules/inner"\n}\n')
        (folder / "modules/inner/main.tf").write_text("locals {\n}\n")
    return tmp_path


@pytest.mark.parametrize(
    "source",
    [
        "git::https://example.com/x",
        "https://example.com/x.zip",
        "s3::https://s3.amazonaws.com/b/k.zip",
        "github.com/acme/vpc",
        "git@github.com:acme/vpc.git",
        "/etc",
        "../outside",
        "./a/../../outside",
        "./absent",
        "acme/other/aws",
        "evil.example/acme/vpc/aws",
        "../../acme/vpc/aws",
        "${var.source}",
    ],
)
def test_other_sources_are_refused(source: str, mirror: Path) -> None:
    modules = modules_of(read_program(Program(id="p", text=call(source))), HOST, mirror)
    assert modules.calls == []
    (refused,) = modules.refused
    assert (refused.code, refused.line, refused.file) == ("BlockedByPolicy", 1, "main.tf")


def test_a_program_calls_the_modules_among_its_files() -> None:
    files = {"net/main.tf": 'module "sub" {\n  source = "../sub"\n}\n', "sub/main.tf": "locals {\n}\n"}
    modules = modules_of(read_program(Program(id="p", text=call("./net"), files=files)), HOST, None)
    assert modules.refused == []
    assert [(c.key, c.source, c.folder) for c in modules.calls] == [("m", "./net", "net"), ("m.sub", "../sub", "sub")]


def test_recursive_module_calls_are_bounded() -> None:
    files = {"a/main.tf": 'module "b" {\n  source = "../b"\n}\n', "b/main.tf": 'module "a" {\n  source = "../a"\n}\n'}
    modules = modules_of(read_program(Program(id="p", text=call("./a"), files=files)), HOST, None)
    assert [d.message for d in modules.refused] == ["module.a: Modules may nest 6 deep, 100 calls in all."]


def test_a_mirrored_module_is_linked_in_the_newest_matching_version(mirror: Path) -> None:
    modules = modules_of(read_program(Program(id="p", text=call("acme/vpc/aws", "~> 5.1"))), HOST, mirror)
    folder = ".mirrored/acme-vpc-aws-5.10.0"
    assert [(c.key, c.source, c.folder, c.version) for c in modules.calls] == [
        ("m", f"{HOST}/acme/vpc/aws", folder, "5.10.0"),
        ("m.inner", "./modules/inner", f"{folder}/modules/inner", None),
    ]
    assert modules.links == {folder: mirror / HOST / "acme/vpc/aws/5.10.0"}


def test_a_missing_version_is_reported_with_the_available_ones(mirror: Path) -> None:
    modules = modules_of(read_program(Program(id="p", text=call("acme/vpc/aws", "~> 7.0"))), HOST, mirror)
    assert "it has 5.1.0, 5.9.2, 5.10.0, 6.0.0" in modules.refused[0].message


@pytest.mark.parametrize(
    ("folder", "source", "found"), [("", "./a", "a"), ("a/b", "../c", "a/c"), ("a", "../..", None), ("", "./", "")]
)
def test_local_sources_outside_the_program_do_not_resolve(folder: str, source: str, found: str | None) -> None:
    assert resolve_folder(folder, source) == found


def test_only_called_modules_of_the_mirror_need_providers(mirror: Path) -> None:
    module = mirror / HOST / "acme/vpc/aws/6.0.0"
    (module / "modules/inner/main.tf").write_text('resource "random_id" "a" {\n}\n')
    (module / "examples/all").mkdir(parents=True)
    (module / "examples/all/main.tf").write_text('resource "google_project" "a" {\n}\n')
    configuration = read_program(Program(id="p", text=call("acme/vpc/aws")))
    assert normalise(configuration, modules_of(configuration, HOST, mirror)).providers == {"random"}
