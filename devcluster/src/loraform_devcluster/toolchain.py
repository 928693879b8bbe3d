"""Packs this machine's terraform (or tofu) as the build context `toolchain` of the verifier's image."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from loraform_devcluster.images import content_key
from loraform_devcluster.shell import DevclusterError
from loraform_verifier.terraform.toolchain import Terraform, ToolchainError, discover

ADVICE = (
    "the verifier's image needs terraform (or tofu) and an unpacked provider mirror with hashicorp/aws:\n"
    "  put the binary on PATH (or set LORAFORM_TERRAFORM), and make a mirror, for example by\n"
    "  `terraform init` in verifier-image/toolchain; set LORAFORM_PROVIDER_MIRROR to its .terraform/providers"
)


def prepare(cache: Path) -> tuple[Path, str]:
    """Return a build context with this machine's toolchain, and its key; raises DevclusterError saying what to provide.

    Files are hard links where the file system allows it: a provider has 700 MB.
    """
    try:
        terraform = discover()
    except ToolchainError as error:
        raise DevclusterError(f"{error}\n{ADVICE}") from error
    files = context_files(terraform)
    described = (f"{target} {source.stat().st_size} {source.stat().st_mtime_ns}" for target, source in files.items())
    key = content_key(terraform.product, terraform.version, *described)
    context = cache / "toolchain" / key
    if not context.exists():
        partial = context.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        for target, source in files.items():
            _link(source, partial / "toolchain" / target)
        partial.rename(context)
    return context, key


def context_files(terraform: Terraform) -> dict[str, Path]:
    """Return the files of the context by their path in it: the binary, and the newest version of each provider."""
    files = {f"bin/{terraform.product.lower().replace('opentofu', 'tofu')}": terraform.binary}
    for provider in terraform.providers:
        mirror = provider.folder.parents[4]
        for path in sorted(p for p in provider.folder.rglob("*") if p.is_file()):
            files[f"mirror/{path.relative_to(mirror)}"] = path
    return files


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or links are not allowed
        shutil.copy2(source, target)
