"""The HTTPS endpoint that pods call: server, tokens, certificates, and what it keeps in memory."""
