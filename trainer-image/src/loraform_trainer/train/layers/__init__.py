"""Layers that compute the same in fewer passes: packed attention, block layers, LoRA, the loss."""
