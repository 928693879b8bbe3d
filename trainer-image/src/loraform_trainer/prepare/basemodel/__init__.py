"""Remote base models: their servers, and the cache that runs share."""
