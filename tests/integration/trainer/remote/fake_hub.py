"""The file layout of a Hugging Face hub on an https server: listings in pages, files, and large ones elsewhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from .https_server import Server

REVISION = "0123456789abcdef0123456789abcdef01234567"


def serve(
    server: Server, storage: Server, kind: str, name: str, files: Mapping[str, bytes], large: tuple[str, ...] = ()
) -> None:
    """Answer as the hub does for one repository; `large` files are redirected to `storage` with a signed URL."""
    prefix = "" if kind == "models" else f"/{kind}"
    entries = []
    for path, content in files.items():
        entry = {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
        place = f"{prefix}/{name}/resolve/{REVISION}/{path}"
        server.answers[place] = (200, {}, content)
        if path in large:
            digest = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 100}
            server.answers[place] = (302, {"Location": storage.url(f"/{digest}?Signature=s")}, b"")
            storage.answers[f"/{digest}?Signature=s"] = (200, {}, content)
        entries.append(entry)
    entries.append({"type": "directory", "path": "original", "size": 0, "oid": "0" * 40})
    tree, half = f"/api/{kind}/{name}/tree/{REVISION}", len(entries) // 2
    following = f'<{server.url(f"{tree}?cursor=2")}>; rel="next"'
    server.answers[tree] = (200, {"Link": following}, json.dumps(entries[:half]).encode())
    server.answers[f"{tree}?cursor=2"] = (200, {}, json.dumps(entries[half:]).encode())
