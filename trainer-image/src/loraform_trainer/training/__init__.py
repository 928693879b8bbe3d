"""Training: the model, the estimate of what it needs, and the processes that train it together."""
