"""The frozen base model: where it comes from, what of it is taken, what is refused, and the cache that runs share."""
