"""Names and models that cross a process boundary. Imports pydantic only."""

__version__ = "0.1.0"
"""Version of distribution, chart and images; the images hold no distribution metadata."""
