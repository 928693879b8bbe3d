"""A program's text: parse it, read values, edit it, normalise it."""
