"""The adapter's files: written whole, the same bytes for the same weights, and read back from a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from peft import set_peft_model_state_dict
from safetensors.torch import load_file

from loraform_api.artifact import ADAPTER_CONFIG, ADAPTER_FILES, ADAPTER_WEIGHTS, PARITY_FILE
from loraform_engine.parity import ParityFile
from loraform_trainer.runtime.files import atomic_folder, write_atomic


def save(model: Any, folder: Path, parity: ParityFile) -> None:
    """Write the adapter and its parity file into `folder`, which is complete or absent at any time."""
    with atomic_folder(folder) as partial:
        model.save_pretrained(partial)
        for stray in partial.iterdir():
            if stray.name not in ADAPTER_FILES:
                stray.unlink()  # a model card
        described = json.loads((partial / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        described["target_modules"] = sorted(described["target_modules"])  # peft writes a set, in the order of the day
        write_atomic(partial / ADAPTER_CONFIG, json.dumps(described, indent=2, sort_keys=True) + "\n")
        write_atomic(partial / PARITY_FILE, parity.model_dump_json(by_alias=True))


def load(model: Any, checkpoint: Path) -> None:
    """Put a checkpoint's weights into the model."""
    set_peft_model_state_dict(model, load_file(checkpoint / ADAPTER_WEIGHTS))
