"""The house policy: check programs against it, and rewrite them to keep it."""
