"""Confinement of child processes: resource limits, Landlock, a seccomp filter, private folders."""
