"""The HTTP service and its two clients."""
