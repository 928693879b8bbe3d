"""Places outside of the pod: https servers, git, S3, registries, the hub. Every client stands behind one wall."""
