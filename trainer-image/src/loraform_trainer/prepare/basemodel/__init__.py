"""The frozen base model: where it comes from, which files are taken, and the cache that runs share."""
