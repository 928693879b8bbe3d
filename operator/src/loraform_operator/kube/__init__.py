"""The API server: the client, desired objects, events and errors."""
