"""Stage `train`: LoRA on packed rows, on one process or many."""
