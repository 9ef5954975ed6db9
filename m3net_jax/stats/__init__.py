"""Tests, intervals and power: arrays in, numbers out."""
