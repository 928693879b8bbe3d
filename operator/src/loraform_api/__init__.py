"""The words of Loraform: every name and shape that crosses a process boundary. Imports pydantic only."""
