"""The corpora by name; each has a module with CLIP_SECONDS, FIT and `read(root) -> Corpus`."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from data_prep import names
from data_prep.corpora import base, folder, layout
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
OWN = ('folder', 'csv')  # the user's own recordings, always --raw_dir itself


def get(name: str) -> ModuleType:
  """The module of a corpus.

  Raises:
    UserError: there is no corpus of that name; the message lists the names.
  """
  if name not in NAMES:
    raise UserError(f'--corpus={name}: not known; known are {", ".join(NAMES)}')
  return importlib.import_module(f'data_prep.corpora.{name}')


def features_of(name: str, **settings: Any) -> Features:
  """The features of a corpus.

  Args:
    name: of the corpus.
    **settings: fields of `Features`. A field that is absent or None has the value of the corpus
      (`clip_seconds`, `fit`) or of the paper's Section 2.1.

  Raises:
    UserError: the corpus is unknown or a setting is out of range.
  """
  corpus = get(name)
  fields = {setting: value for setting, value in settings.items() if value is not None}
  return Features(**{'clip_seconds': corpus.CLIP_SECONDS, 'fit': corpus.FIT, **fields})


def locate(name: str, raw_dir: str | Path) -> Path:
  """The folder of a corpus: RAW_DIR/NAME or RAW_DIR itself.

  It is RAW_DIR/NAME if that exists, if RAW_DIR is absent, if RAW_DIR contains only folders of
  corpora, or if the program makes the corpus. One folder can therefore hold all corpora, and
  --raw_dir can also name the folder of one corpus.
  """
  raw = Path(raw_dir)
  if name in OWN or raw.is_file():
    return raw
  # Archives use capitals in the name, UrbanSound8K for example.
  entries = raw.iterdir() if raw.is_dir() else ()
  subfolders = [entry for entry in entries if entry.name.lower() == name]
  subfolder = subfolders[0] if subfolders else raw / name
  is_made = hasattr(get(name), 'make') and raw.name.lower() != name
  if subfolder.exists() or not raw.exists() or is_made or holds_corpora(raw):
    return subfolder
  return raw


def holds_corpora(raw: Path) -> bool:
  """Whether a folder contains nothing except folders of corpora and hidden files."""
  return raw.is_dir() and all(
    entry.name.lower() in NAMES or entry.name.startswith('.') for entry in raw.iterdir()
  )


def read(
  name: str,
  raw_dir: str | Path,
  silence_clips: int | None = None,
  clip_seconds: float = folder.CLIP_SECONDS,
) -> base.Corpus:
  """Reads the list of clips of a corpus.

  Args:
    name: of the corpus.
    raw_dir: see `locate`.
    silence_clips, clip_seconds: see `folder.read`; other corpora do not use them.

  Raises:
    UserError: the folder is absent, empty or not as expected; a class has fewer than 3 clips or a
      name that is not text of one line; or silence is asked for and the corpus is not `folder`.
  """
  root = locate(name, raw_dir)
  if silence_clips is not None and (name != 'folder' or silence_clips < 0):
    raise UserError(
      f'--silence_clips={silence_clips}: '
      + (
        'give 0 or more'
        if name == 'folder'
        else f'only --corpus=folder cuts silence from noise, not {name}: leave the flag out'
      )
    )
  if name == 'folder':
    corpus = folder.read(root, silence_clips, clip_seconds)
  else:
    corpus = get(name).read(root)
  names.check_classes(corpus.classes, f'--raw_dir: {root}')
  if len(corpus.classes) == 1:
    raise UserError(
      f'--raw_dir: {root} has one class, {names.visible(corpus.classes[0])}: give recordings of '
      'two classes or more'
    )
  base.check_counts(corpus.classes, [clip.label for clip in corpus.clips], f'--raw_dir: {root}')
  return corpus._replace(notes=(*corpus.notes, *layout.look_alikes(corpus.classes)))
