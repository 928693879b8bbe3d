"""Which modules a program may call."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
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
    assert [(c.key, c.entry.source, c.folder) for c in modules.calls] == [
        ("m", "./net", "net"),
        ("m.sub", "../sub", "sub"),
    ]


def test_recursive_module_calls_are_bounded() -> None:
    files = {"a/main.tf": 'module "b" {\n  source = "../b"\n}\n', "b/main.tf": 'module "a" {\n  source = "../a"\n}\n'}
    modules = modules_of(read_program(Program(id="p", text=call("./a"), files=files)), HOST, None)
    assert [d.message for d in modules.refused] == ["module.a: Modules may nest 6 deep, 100 calls in all."]


def test_a_mirrored_module_is_linked_in_the_newest_matching_version(mirror: Path) -> None:
    modules = modules_of(read_program(Program(id="p", text=call("acme/vpc/aws", "~> 5.1"))), HOST, mirror)
    folder = f".mirrored/{HOST}/acme/vpc/aws/5.10.0"
    assert [(c.key, c.entry.source, c.folder, c.entry.version) for c in modules.calls] == [
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


TRAVERSALS = [
    "acme/vpc/aws//../../../../../outside",
    "acme/vpc/aws//modules/../../../../../outside",
    "acme/vpc/aws//.",
    "acme/vpc/aws//modules/./inner",
    "acme/vpc/aws///etc",
    "acme/vpc/aws//%2e%2e/outside",
    "acme/vpc/aws//modules\\\\..\\\\..",
    "acme/vpc/aws//absent",
    "acme/vpc/../aws",
    "../acme/vpc/aws",
    "./.mirrored/registry.terraform.io/acme/vpc/aws/6.0.0",
    ".\\\\acme",
    "file:///etc",
    "file://./outside",
    "git::file:///etc",
    "git::../outside",
    "registry.terraform.io/../../../outside",
    "~/outside",
]


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """The paths that this process opens or lists during a test."""
    watching, paths = True, list[str]()

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event in ("open", "os.listdir", "os.scandir"):
            paths.append(str(arguments[0]))

    sys.addaudithook(hook)  # it stays until the process ends
    yield paths
    watching = False


@pytest.fixture
def outside(mirror: Path) -> Path:
    """A module beside the mirror, which nothing may open."""
    folder = mirror.parent / f"{mirror.name}-outside"
    folder.mkdir()
    (folder / "main.tf").write_text('resource "canary_thing" "c" {\n}\n')
    return folder


def check_refused(program: Program, mirror: Path, outside: Path, opened: list[str], words: str) -> None:
    opened.clear()
    configuration = read_program(program)
    modules = modules_of(configuration, HOST, mirror)
    normalise(configuration, modules)
    assert [d.code for d in modules.refused] == ["BlockedByPolicy"]
    assert words in modules.refused[0].message
    strayed = [path for path in opened if Path(path).resolve().is_relative_to(outside) or path.startswith("/etc")]
    assert strayed == []


@pytest.mark.parametrize("source", TRAVERSALS)
def test_no_source_leads_out_of_a_module(source: str, mirror: Path, outside: Path, opened: list[str]) -> None:
    shown = source.replace("\\\\", "\\")
    check_refused(Program(id="p", text=call(source)), mirror, outside, opened, repr(shown)[:100])


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("", "no matching version"),
        ("6.0.0", "acme/vpc/aws/6.0.0 is a link"),
        ("6.0.0/main.tf", "acme/vpc/aws/6.0.0/main.tf is a link"),
        ("6.0.0/modules/inner", "acme/vpc/aws/6.0.0/modules/inner is a link"),
        ("6.0.0/modules/inner/main.tf", "acme/vpc/aws/6.0.0/modules/inner/main.tf is a link"),
    ],
)
def test_no_link_in_the_mirror_leads_out_of_a_module(
    place: str, words: str, mirror: Path, outside: Path, opened: list[str]
) -> None:
    link = mirror / HOST / "acme/vpc/aws" / place
    if link.is_dir():
        shutil.rmtree(link)
    else:
        link.unlink()
    link.symlink_to(outside / "main.tf" if place.endswith(".tf") else outside)
    check_refused(Program(id="p", text=call("acme/vpc/aws")), mirror, outside, opened, words)


def test_a_mirrored_module_calls_none_but_its_own(mirror: Path) -> None:
    module = mirror / HOST / "acme/vpc/aws/6.0.0"
    up = "../" * 6
    (module / "main.tf").write_text(call("./modules/inner") + call(f"{up}own").replace('"m"', '"n"'))
    program = Program(id="p", text=call("acme/vpc/aws"), files={"own/main.tf": "locals {\n}\n"})
    modules = modules_of(read_program(program), HOST, mirror)
    assert [c.key for c in modules.calls] == ["m", "m.m"]
    assert ["among the files of its own module" in d.message for d in modules.refused] == [True]


def test_modules_of_like_names_are_linked_apart(mirror: Path) -> None:
    addresses = ["acme/vpc-a/aws", "acme-vpc/a/aws", "example.com/acme/vpc-a/aws"]
    for address in addresses:
        folder = mirror / (address if address.startswith("example.com") else f"{HOST}/{address}") / "1.0.0"
        folder.mkdir(parents=True)
        (folder / "main.tf").write_text("locals {\n}\n")
    text = "".join(call(address).replace('"m"', f'"m{n}"') for n, address in enumerate(addresses))
    modules = modules_of(read_program(Program(id="p", text=text)), HOST, mirror)
    assert len(set(modules.links)) == len(set(modules.links.values())) == 3
