"""The data set: from source files to checked, split and tokenised rows."""
