"""The data pipeline: from sources to rows that training can trust."""
