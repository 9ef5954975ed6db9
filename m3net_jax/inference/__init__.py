"""A trained model from recordings to classes."""
