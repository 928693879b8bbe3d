"""Cache keys of base models."""

from __future__ import annotations

from loraform_trainer.prepare.basemodel import cache
from loraform_trainer.prepare.basemodel.origins import RemoteFile

URI = "hf://acme/tiny"


def test_key_depends_on_uri_and_files_but_not_on_their_order() -> None:
    files = [RemoteFile("config.json", 1, "a"), RemoteFile("model.safetensors", 2, "b")]
    name = cache.key(URI, files)
    assert cache.key(URI, files[::-1]) == name
    others = [
        cache.key("hf://acme/other", files),
        cache.key(URI, files[:1]),
        cache.key(URI, [files[0], RemoteFile("model.safetensors", 2, "c")]),
        cache.key(URI, [files[0], RemoteFile("model.safetensors", 3, "b")]),
    ]
    assert len({name, *others}) == 5
