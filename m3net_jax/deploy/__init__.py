"""A trained lane as the files that a microcontroller runs."""
