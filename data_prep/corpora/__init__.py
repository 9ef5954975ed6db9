"""The corpora by name; one module each, with CLIP_SECONDS, FIT and `read(folder) -> Corpus`."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from data_prep.corpora import base
from data_prep.errors import UserError
from data_prep.features import Features

NAMES = (
  'synthetic_commands',
  'speech_commands',
  'speech_commands_12',
  'urbansound8k',
  'esc10',
  'esc50',
  'fsdd',
  'folder',
  'csv',
)
_OWN = ('folder', 'csv')  # a user's own, always --raw_dir itself


def get(name: str) -> ModuleType:
  """The module of a corpus; UserError, listing the known ones, for another name."""
  if name not in NAMES:
    raise UserError(f'--corpus={name}: not known; known are {", ".join(NAMES)}')
  return importlib.import_module(f'data_prep.corpora.{name}')


def features_of(name: str, **settings: Any) -> Features:
  """The features of a corpus: its own clip length, the paper's Section 2.1, and `settings` in their place.

  Raises:
    UserError: the corpus is unknown or a setting is out of range.
  """
  corpus = get(name)
  given = {setting: value for setting, value in settings.items() if value is not None}
  return Features(**{'clip_seconds': corpus.CLIP_SECONDS, 'fit': corpus.FIT, **given})


def locate(name: str, raw_dir: str | Path) -> Path:
  """The corpus's folder: RAW_DIR/NAME where that is, or RAW_DIR is absent or empty, or the corpus is one that is made;
  otherwise RAW_DIR itself.

  So one folder can hold all corpora (and downloads), and a corpus that lies elsewhere can be named directly.
  """
  raw = Path(raw_dir)
  if name in _OWN or raw.is_file():
    return raw
  # Archives write the name as they like, UrbanSound8K for example.
  there = [entry for entry in (raw.iterdir() if raw.is_dir() else ()) if entry.name.lower() == name]
  inside = there[0] if there else raw / name
  made_here = (
    hasattr(get(name), 'make') and raw.name.lower() != name
  )  # beside whatever else lies there
  if inside.exists() or not raw.exists() or made_here or holds_corpora(raw):
    return inside
  return raw


def holds_corpora(raw: Path) -> bool:
  """Whether a folder is empty but for folders named as corpora, so that a new one belongs inside it."""
  return raw.is_dir() and all(
    entry.name.lower() in NAMES or entry.name.startswith('.') for entry in raw.iterdir()
  )


def read(name: str, raw_dir: str | Path) -> base.Corpus:
  """The clips of a corpus; UserError where its folder is missing, empty or a class has too few clips."""
  root = locate(name, raw_dir)
  corpus = get(name).read(root)
  base.enough(corpus.classes, [clip.label for clip in corpus.clips], f'--raw_dir: {root}')
  return corpus
