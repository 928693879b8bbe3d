"""Stage `prepare`: the base model and the data set, checked before a GPU is taken."""
