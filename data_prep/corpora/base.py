"""What a corpus is to the rest of the program: a list of clips, each with what splits need to know of it."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from data_prep.audio import SUFFIXES
from data_prep.errors import UserError

FEWEST_CLIPS = 3  # one each for train, validation and test


class Clip(NamedTuple):
  """One labelled clip: a recording, or a part of one.

  Attributes:
    path: of the recording, relative to the corpus's folder, with '/'.
    label: the class's name.
    group: speaker or source recording that must not be on two sides of a grouped split; '' where unknown.
    fold: official fold, from 1; 0 where there is none.
    part: official 'train', 'validation' or 'test'; '' where there is none.
    start: where the clip begins in the recording, in seconds.
    gain: what its samples are multiplied with.
  """

  path: str
  label: str
  group: str = ''
  fold: int = 0
  part: str = ''
  start: float = 0.0
  gain: float = 1.0


class Corpus(NamedTuple):
  """Attributes: its folder; class names in the order of their labels; clips; files that are no recordings."""

  root: Path
  classes: tuple[str, ...]
  clips: tuple[Clip, ...]
  ignored: tuple[str, ...] = ()


def files(folder: Path) -> Iterator[str]:
  """Paths of all files below, relative to `folder`, with '/', sorted; nothing hidden, no link to a folder above."""
  for where, folders, names in os.walk(folder, followlinks=True):
    here = os.path.realpath(where)
    ends = lambda name: (
      os.path.commonpath([here, target := os.path.realpath(os.path.join(where, name))]) != target
    )
    folders[:] = sorted(name for name in folders if not name.startswith('.') and ends(name))
    relative = Path(where).relative_to(folder).as_posix()
    for name in sorted(names):
      if not name.startswith('.'):
        yield name if relative == '.' else f'{relative}/{name}'


def is_recording(path: str) -> bool:
  return path.lower().endswith(SUFFIXES)


def recordings(folder: Path) -> tuple[list[str], list[str]]:
  """Recordings and other files below `folder`, told apart by the ending of the name."""
  found: tuple[list[str], list[str]] = ([], [])
  for path in files(folder):
    found[0 if is_recording(path) else 1].append(path)
  return found


def enough(classes: tuple[str, ...], labels: list[str], where: str) -> None:
  """Raises UserError where a class has too few clips to be split in three."""
  counts = Counter(labels)
  few = [f'{name} ({counts[name]})' for name in classes if counts[name] < FEWEST_CLIPS]
  if few:
    more = f' and {len(few) - 5} more classes' if len(few) > 5 else ''
    raise UserError(
      f'{where}: fewer than {FEWEST_CLIPS} clips in {", ".join(few[:5])}{more}: '
      'add recordings or remove the class'
    )


def missing(root: Path, expected: str, mend: str) -> UserError:
  """The error for a folder that is not what its corpus looks like."""
  if not root.exists():
    state = 'is not there'
  else:
    state = f'has no {expected}' if root.is_dir() else 'is no folder'
  return UserError(f'--raw_dir: {root} {state}: {mend}')
