"""The processes that train together: how they start and how they meet."""
