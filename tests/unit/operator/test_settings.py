from __future__ import annotations

from pathlib import Path

import pytest

from loraform_operator.settings import SettingsError, load_settings

GOOD = """
images: {trainer: t:1, verifier: v:1, gateway: g:1}
profiles: {default: {engineImage: e:1}}
"""


def test_defaults(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(GOOD)
    settings = load_settings(path)
    assert (settings.concurrency, settings.profiles["default"].engine_dtype) == (8, "bfloat16")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not YAML"),
        ("", "Input should be"),
        (GOOD + "concurency: 3", "concurency: Extra inputs are not permitted"),
        (GOOD.replace("e:1", "'e: 1'"), "profiles.default.engineImage: String should match"),
        (GOOD.replace("trainer: t:1, ", ""), "images.trainer: Field required"),
        ("images: {trainer: t, verifier: v, gateway: g}\nprofiles: {}", "profiles: Dictionary should have at least 1"),
    ],
)
def test_errors_name_file_and_field(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        load_settings(tmp_path / "none.yaml")
