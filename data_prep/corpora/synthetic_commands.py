"""Synthetic speech in the layout of Speech Commands, made where it is absent (see `data_prep.synthetic`)."""

from pathlib import Path

from data_prep import synthetic
from data_prep.corpora import base, speech_commands

CLIP_SECONDS = speech_commands.CLIP_SECONDS
FIT = speech_commands.FIT
make = synthetic.make


def read(root: Path) -> base.Corpus:
  return speech_commands.read(root)
