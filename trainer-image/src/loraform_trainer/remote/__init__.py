"""Clients of remote servers: https, git, S3, OCI registries, Hugging Face hubs. All refuse link-local addresses."""
