"""Turns recordings into stores of log-Mel features."""
