"""Synthetic speech in the layout of Speech Commands, made if absent by `data_prep.synthetic`."""

from pathlib import Path

from data_prep import synthetic
from data_prep.corpora import base, speech_commands

CLIP_SECONDS = speech_commands.CLIP_SECONDS
FIT = speech_commands.FIT
make = synthetic.make


def read(root: Path) -> base.Corpus:
  """Reads the clips of the 35 words."""
  return speech_commands.read(root)
