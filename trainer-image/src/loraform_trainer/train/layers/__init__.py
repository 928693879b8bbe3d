"""Layers with fewer passes over the activations: packed attention, fused block layers, fused LoRA, and the loss."""
