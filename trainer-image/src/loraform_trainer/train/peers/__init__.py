"""The processes that train one adapter together: start, rendezvous, collectives and heartbeat."""
