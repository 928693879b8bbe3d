"""The evaluation's page in a real browser: it shows what it should, and no answer of a model runs there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from loraform_devcluster.binaries import install
from loraform_devcluster.progress import Progress
from loraform_trainer.evaluate.html import page

from ..evaluated import POLICY, evaluated

TITLE = "Evaluation of team-a/style"


@pytest.fixture(scope="module")
def html() -> str:
    report, greedy = evaluated(policy=POLICY, suites=("small", "large"))
    return page.render(report, greedy)


@pytest.fixture(scope="module")
def chromium() -> str:
    """The browser of Debian's archive, installed where it is not."""
    install({"chromium": "chromium"}, Progress())
    found = shutil.which("chromium")
    assert found is not None
    return found


def opened(chromium: str, html: str, folder: Path) -> tuple[str, list[str]]:
    """Open a page; return its document as the browser understood it, and what its console said."""
    file = folder / "page.html"
    file.write_text(html, encoding="utf-8")
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        f"--user-data-dir={folder}/profile",
    ]
    done = subprocess.run(
        [chromium, *flags, "--dump-dom", file.as_uri()], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_a_browser_shows_the_page_and_has_nothing_to_complain_of(chromium: str, html: str, tmp_path: Path) -> None:
    document, console = opened(chromium, html, tmp_path)
    assert console == []
    assert re.findall(r"<title>([^<]*)</title>", document) == [TITLE]
    assert not re.findall(r"<(?:script|img|iframe|object|embed|link|form)\b", document)
    for element in ("section", "table", "svg", "polyline", "details", "tr"):
        assert document.count(f"<{element}") == html.count(f"<{element}"), element  # nothing was moved or dropped
    assert "&lt;script&gt;document.title='owned'&lt;/script&gt;" in document


def test_a_script_that_got_in_all_the_same_would_not_run(chromium: str, html: str, tmp_path: Path) -> None:
    """The page's own policy is a second wall; this is also the proof that the console is heard."""
    broken = html.replace(
        "</main>", "<script>document.title='owned'</script><img src=x onerror=\"document.title='x'\"></main>"
    )
    document, console = opened(chromium, broken, tmp_path)
    assert re.findall(r"<title>([^<]*)</title>", document) == [TITLE]
    assert any("Content Security Policy" in line for line in console)
