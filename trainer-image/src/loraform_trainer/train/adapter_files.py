"""Writes and reads the adapter's files; equal weights give equal bytes."""

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
    """Write the adapter and its parity file into `folder`, atomically."""
    with atomic_folder(folder) as partial:
        model.save_pretrained(partial)
        for file in partial.iterdir():
            if file.name not in ADAPTER_FILES:
                file.unlink()  # peft's model card
        config = json.loads((partial / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        config["target_modules"] = sorted(config["target_modules"])  # peft writes a set, whose order varies
        write_atomic(partial / ADAPTER_CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")
        write_atomic(partial / PARITY_FILE, parity.model_dump_json(by_alias=True))


def load(model: Any, checkpoint: Path) -> None:
    """Load a checkpoint's adapter weights into the model."""
    set_peft_model_state_dict(model, load_file(checkpoint / ADAPTER_WEIGHTS))
