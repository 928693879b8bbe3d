"""Stage `prepare`: copies and checks base model and data set before a GPU is used."""
