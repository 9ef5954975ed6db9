"""A study: its lanes, their training and its files on disk."""
