"""Finds and describes the terraform (or tofu) binary and the folder of providers that it may use.

Which providers a program may use is decided by absence: only what lies unpacked in the mirror exists. Nothing here
knows a fixed path of any one machine; flags come first, then the environment, then the places Terraform itself uses.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from loraform_api.verification import Toolchain
from loraform_verifier.hcl.versions import REGISTRIES, order
from loraform_verifier.sandbox import isolation

TERRAFORM_VARIABLE = "LORAFORM_TERRAFORM"
MIRROR_VARIABLE = "LORAFORM_PROVIDER_MIRROR"
MODULES_VARIABLE = "LORAFORM_MODULE_MIRROR"
IN_IMAGE = Path("/opt/terraform/mirror")
SEARCHED = (Path("/opt"), Path("/usr"))
SEARCH_DEPTH = 4
_PLATFORM = {"x86_64": "linux_amd64", "aarch64": "linux_arm64"}
_VERSION = re.compile(rb"^(Terraform|OpenTofu) v(\S+)", re.MULTILINE)


class ToolchainError(RuntimeError):
    """The binary or the mirror is missing or unusable; the message says what to set."""


@dataclass(frozen=True, slots=True)
class Provider:
    """One unpacked provider of the mirror."""

    namespace: str
    type: str
    version: str
    folder: Path
    """Holds the executable."""

    @property
    def source(self) -> str:
        """The short source address, for example `hashicorp/aws`."""
        return f"{self.namespace}/{self.type}"


@dataclass(frozen=True, slots=True)
class Terraform:
    """A binary and the providers it may use, the newest version of each."""

    binary: Path
    product: str
    """`Terraform` or `OpenTofu`."""
    version: str
    providers: tuple[Provider, ...]
    modules: Path | None = None
    """The module mirror: folders `HOST/NAMESPACE/NAME/PROVIDER/VERSION`."""

    @property
    def readable(self) -> tuple[Path, ...]:
        """What a run of it reads beside its own folder."""
        return (self.binary, *(p.folder for p in self.providers), *((self.modules,) if self.modules else ()))

    @property
    def registry(self) -> str:
        """The host that a source address without one means to this product."""
        return REGISTRIES[self.product]

    def provider(self, local_name: str) -> Provider | None:
        """Return the provider that a program without `required_providers` means by a local name."""
        return next((p for p in self.providers if p.namespace == "hashicorp" and p.type == local_name), None)

    def words(self) -> Toolchain:
        """Return what goes into provenance."""
        versions = {p.source: p.version for p in self.providers}
        return Toolchain(terraform=f"{self.product.lower()} {self.version}", providers=versions)


def discover(binary: str | None = None, mirror: str | None = None, modules: str | None = None) -> Terraform:
    """Find the toolchain: arguments, then environment, then the usual places. Raises ToolchainError."""
    executable = _binary(binary or os.environ.get(TERRAFORM_VARIABLE))
    folder = _mirror(mirror or os.environ.get(MIRROR_VARIABLE))
    product, version = _product(executable)
    providers = tuple(sorted(_newest(folder), key=lambda p: p.source))
    if not providers:
        raise ToolchainError(f"the provider mirror {folder} holds no unpacked provider for {_platform()}")
    return Terraform(executable, product, version, providers, _modules(modules or os.environ.get(MODULES_VARIABLE)))


def child_environment(home: Path) -> dict[str, str]:
    """Return the whole environment of a terraform child: nothing of ours, no account, no network, `home` as home."""
    return {
        "HOME": str(home),
        "TMPDIR": str(home),
        "PATH": "/nonexistent",
        "LANG": "C.UTF-8",
        "CHECKPOINT_DISABLE": "1",
        "TF_IN_AUTOMATION": "1",
        "TF_INPUT": "0",
        "TF_CLI_CONFIG_FILE": str(home / "cli.tfrc"),
        "AWS_ACCESS_KEY_ID": "fake",
        "AWS_SECRET_ACCESS_KEY": "fake",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def write_cli_config(home: Path) -> None:
    """Write the command line configuration that `child_environment` names: an empty mirror, no registry, no call home.

    Providers are linked into place by us, so nothing has to be found.
    """
    nowhere = home / "no-mirror"
    nowhere.mkdir(exist_ok=True)
    mirror = f'filesystem_mirror {{\n    path = "{nowhere}"\n  }}'
    (home / "cli.tfrc").write_text(f"disable_checkpoint = true\nprovider_installation {{\n  {mirror}\n}}\n")


def _binary(wanted: str | None) -> Path:
    found = shutil.which(wanted) if wanted else shutil.which("terraform") or shutil.which("tofu")
    if found is None:
        missing = f"{wanted!r} is not an executable" if wanted else "neither terraform nor tofu is on PATH"
        raise ToolchainError(f"{missing}; give --terraform or set {TERRAFORM_VARIABLE}")
    return Path(found).resolve()


def _mirror(wanted: str | None) -> Path:
    candidates = [Path(wanted)] if wanted else _usual_mirrors()
    for folder in candidates:
        if any((folder / host).is_dir() for host in REGISTRIES.values()):
            return folder.resolve()
    missing = f"{wanted!r} holds no registry.terraform.io folder" if wanted else "no provider mirror was found"
    raise ToolchainError(f"{missing}; give --mirror or set {MIRROR_VARIABLE} to an unpacked filesystem mirror")


def _modules(wanted: str | None) -> Path | None:
    if not wanted:
        return None
    if not Path(wanted).is_dir():
        raise ToolchainError(f"the module mirror {wanted!r} is not a folder; correct --modules or {MODULES_VARIABLE}")
    return Path(wanted).resolve()


def _usual_mirrors() -> Iterator[Path]:
    home = Path.home()
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    yield IN_IMAGE
    yield home / ".terraform.d/plugins"
    yield data / "terraform/plugins"
    yield from (Path(share) / "terraform/plugins" for share in ("/usr/local/share", "/usr/share"))
    for root in SEARCHED:
        for folder, names, _ in os.walk(root):
            if any((Path(folder) / host / "hashicorp/aws").is_dir() for host in REGISTRIES.values() if host in names):
                yield Path(folder)
            if len(Path(folder).relative_to(root).parts) >= SEARCH_DEPTH:
                names.clear()


def _product(binary: Path) -> tuple[str, str]:
    with isolation.private_folder() as home:
        write_cli_config(home)
        finished = isolation.run([str(binary), "version"], cwd=home, env=child_environment(home), seconds=60)
    match = _VERSION.search(finished.stdout)
    if match is None:
        said = (finished.stderr or finished.stdout)[:200].decode(errors="replace").strip()
        raise ToolchainError(f"{binary} is neither terraform nor tofu: `version` said {said!r}")
    return match[1].decode(), match[2].decode()


def _platform() -> str:
    return _PLATFORM.get(platform.machine(), platform.machine())


def _newest(mirror: Path) -> list[Provider]:
    newest: dict[tuple[str, str], Provider] = {}
    for host in REGISTRIES.values():
        for folder in sorted(mirror.glob(f"{host}/*/*/*/{_platform()}")):
            namespace, kind, version = folder.parts[-4:-1]
            known = newest.get((namespace, kind))
            if known is None or order(version) > order(known.version):
                newest[namespace, kind] = Provider(namespace, kind, version, folder)
    return list(newest.values())
