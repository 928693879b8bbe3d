"""What keeps the verifier's service from starting ends it with a message, not with a traceback."""

from __future__ import annotations

import ctypes
import socket
from pathlib import Path

import pytest

from loraform_verifier.__main__ import main


@pytest.mark.usefixtures("terraform")
def test_a_taken_port_and_a_missing_folder_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == 2
    assert "address already in use" in capsys.readouterr().err
    assert main(["serve", "--packs", str(tmp_path / "nowhere")]) == 2
    assert f"No such file or directory: '{tmp_path}/nowhere'" in capsys.readouterr().err


def test_it_closes_itself_to_its_children_before_anything_starts(tmp_path: Path) -> None:
    libc = ctypes.CDLL(None)
    get, put = 3, 4  # PR_GET_DUMPABLE, PR_SET_DUMPABLE
    assert libc.prctl(put, 1, 0, 0, 0) == 0
    try:
        assert main(["serve", "--terraform", str(tmp_path / "none")]) == 2
        assert libc.prctl(get, 0, 0, 0, 0) == 0
    finally:
        libc.prctl(put, 1, 0, 0, 0)
