"""Rules of the code that no linter checks."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OPERATOR = ROOT / "operator" / "src" / "loraform_operator"


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_the_operator_folder_does_not_shadow_the_standard_library() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()


@pytest.mark.parametrize(
    ("library", "allowed"), [("kopf", {"handlers.py", "__main__.py"}), ("kubernetes", {"cluster.py"})]
)
def test_a_library_is_imported_by_one_module_only(library: str, allowed: set[str]) -> None:
    users = {p.name for p in OPERATOR.rglob("*.py") if library in imported(p)}
    assert users <= allowed


@pytest.mark.parametrize(
    "path", [p for kind in ("finetunejob", "iacmodel") for p in (OPERATOR / kind).glob("*.py")], ids=str
)
def test_status_plan_and_policies_are_pure(path: Path) -> None:
    if path.name in {"status.py", "plan.py", "policies.py"}:
        text = path.read_text()
        assert not imported(path) & {"aiohttp", "asyncio", "os", "time", "subprocess"}, path
        assert "datetime.now" not in text, path


NAMED_FILE = re.compile(r"(?<![\w/.-])((?:[\w.-]+/)*[\w-]+\.(?:md|py))\b")
UNKNOWN_DOCUMENT = re.compile(r"\b[Dd]esign §|\b[Cc]onventions §|founding document|\bresearch/")


def tracked() -> list[Path]:
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    return [Path(name) for name in names]


def test_no_file_names_a_document_that_the_repository_lacks() -> None:
    files = tracked()
    suffixes = {"/".join(path.parts[i:]) for path in files for i in range(len(path.parts))}
    missing = {}
    for path in files:
        if path.suffix not in {".py", ".md", ".yaml", ".toml"} or path.parts[0] in {"tests", "changelog.d"}:
            continue
        text = (ROOT / path).read_text()
        named = {n for n in NAMED_FILE.findall(text) if n not in suffixes and not (ROOT / path.parent / n).exists()}
        named |= set(UNKNOWN_DOCUMENT.findall(text))
        if named:
            missing[str(path)] = named
    assert missing == {}
