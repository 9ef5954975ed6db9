"""A study: which lanes there are, how they train, and what they leave on disk."""
