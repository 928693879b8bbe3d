"""A real one-machine Kubernetes for the demo and the tests, from upstream binaries."""
