"""The HTTPS endpoint that pods call: server, tokens, certificates, and its stores in memory."""
