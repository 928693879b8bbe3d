"""A Secret as the kubelet mounts it."""

from __future__ import annotations

from pathlib import Path


class MountedSecret:
    """A folder whose files are links through `..data`, which is swapped at each change."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self._count = folder, 0

    def write(self, files: dict[str, str]) -> None:
        """Replace all files at once."""
        self._count += 1
        data = self.folder / f"..{self._count}"
        data.mkdir()
        for name, text in files.items():
            (data / name).write_text(text)
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        link = self.folder / "..new"
        link.symlink_to(data.name)
        link.replace(self.folder / "..data")
