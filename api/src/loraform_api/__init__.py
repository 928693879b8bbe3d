"""The words of Loraform: every name and shape that crosses a process boundary. Imports pydantic only."""

__version__ = "0.1.0"
"""The one version of the distribution, the chart and the images, which hold no distribution metadata."""
