"""Parts of pods that both kinds use. Pure."""
