"""Discovery of the terraform (or tofu) binary, the provider mirror and the module mirror.

Programs may use only the providers that lie unpacked in the mirror. Flags come first, then the environment, then the
folders that Terraform itself uses.
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
    """Folder of the executable."""

    @property
    def source(self) -> str:
        """The short source address, for example `hashicorp/aws`."""
        return f"{self.namespace}/{self.type}"


@dataclass(frozen=True, slots=True)
class Terraform:
    """A binary and the providers that it may use, the newest version of each."""

    binary: Path
    product: str
    """`Terraform` or `OpenTofu`."""
    version: str
    providers: tuple[Provider, ...]
    modules: Path | None = None
    """The module mirror: folders `HOST/NAMESPACE/NAME/PROVIDER/VERSION`."""

    @property
    def readable(self) -> tuple[Path, ...]:
        """Paths that a run reads beside its own folder."""
        return (self.binary, *(p.folder for p in self.providers), *((self.modules,) if self.modules else ()))

    @property
    def registry(self) -> str:
        """This product's default host of source addresses."""
        return REGISTRIES[self.product]

    def provider(self, local_name: str) -> Provider | None:
        """Return the provider of a local name in a program without `required_providers`."""
        return next((p for p in self.providers if p.namespace == "hashicorp" and p.type == local_name), None)

    def provenance(self) -> Toolchain:
        """Return the versions for the provenance of verdicts."""
        versions = {p.source: p.version for p in self.providers}
        return Toolchain(terraform=f"{self.product.lower()} {self.version}", providers=versions)


def discover(binary: str | None = None, mirror: str | None = None, modules: str | None = None) -> Terraform:
    """Find the toolchain: arguments, then environment, then the usual folders. Raises ToolchainError."""
    executable = _binary(binary or os.environ.get(TERRAFORM_VARIABLE))
    folder = _mirror(mirror or os.environ.get(MIRROR_VARIABLE))
    product, version = _product(executable)
    providers = tuple(sorted(_newest(folder), key=lambda p: p.source))
    if not providers:
        raise ToolchainError(f"the provider mirror {folder} holds no unpacked provider for {_platform()}")
    return Terraform(executable, product, version, providers, _modules(modules or os.environ.get(MODULES_VARIABLE)))


def child_environment(home: Path) -> dict[str, str]:
    """Return the whole environment of a terraform child: fake credentials, no checkpoint calls, `home` as home."""
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
    """Write the CLI configuration for `child_environment`: an empty mirror, no registry, no checkpoint calls.

    The verifier links providers into each working folder, so terraform has nothing to look up.
    """
    empty = home / ".no-mirror"
    empty.mkdir(exist_ok=True)
    mirror = f'filesystem_mirror {{\n    path = "{empty}"\n  }}'
    (home / "cli.tfrc").write_text(f"disable_checkpoint = true\nprovider_installation {{\n  {mirror}\n}}\n")


def _binary(name: str | None) -> Path:
    path = shutil.which(name) if name else shutil.which("terraform") or shutil.which("tofu")
    if path is None:
        missing = f"{name!r} is not an executable" if name else "neither terraform nor tofu is on PATH"
        raise ToolchainError(f"{missing}; give --terraform or set {TERRAFORM_VARIABLE}")
    return Path(path).resolve()


def _mirror(path: str | None) -> Path:
    candidates = [Path(path)] if path else _usual_mirrors()
    for folder in candidates:
        if any((folder / host).is_dir() for host in REGISTRIES.values()):
            return folder.resolve()
    missing = f"{path!r} holds no registry.terraform.io folder" if path else "no provider mirror was found"
    raise ToolchainError(f"{missing}; give --mirror or set {MIRROR_VARIABLE} to an unpacked filesystem mirror")


def _modules(path: str | None) -> Path | None:
    if not path:
        return None
    if not Path(path).is_dir():
        raise ToolchainError(f"the module mirror {path!r} is not a folder; correct --modules or {MODULES_VARIABLE}")
    return Path(path).resolve()


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
        output = (finished.stderr or finished.stdout)[:200].decode(errors="replace").strip()
        raise ToolchainError(f"{binary} is neither terraform nor tofu: `version` printed {output!r}")
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
