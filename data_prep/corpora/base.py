"""A corpus as a list of clips, and what the modules of the corpora share."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from data_prep.audio import SUFFIXES
from data_prep.errors import UserError

FEWEST_CLIPS = 3  # one each for train, validation and test


class Clip(NamedTuple):
  """One labelled clip: a recording, or a part of one.

  Attributes:
    path: of the recording, relative to the corpus's folder, with '/'.
    label: name of the class.
    group: speaker or source recording, which a grouped split keeps in one part; '' if unknown.
    fold: official fold, from 1; 0 if there is none.
    part: official 'train', 'validation' or 'test'; '' if there is none.
    start: of the clip in the recording, in seconds.
    gain: factor of the samples.
  """

  path: str
  label: str
  group: str = ''
  fold: int = 0
  part: str = ''
  start: float = 0.0
  gain: float = 1.0


class Corpus(NamedTuple):
  """A labelled set of recordings.

  Attributes:
    root: the folder.
    classes: names in the order of their labels.
    clips: all clips.
    ignored: paths of files that are not recordings of the corpus.
    notes: sentences for the user, told when the store is prepared.
    listing: name of the csv file in `root` that lists the clips; '' if none does.
  """

  root: Path
  classes: tuple[str, ...]
  clips: tuple[Clip, ...]
  ignored: tuple[str, ...] = ()
  notes: tuple[str, ...] = ()
  listing: str = ''


def files(folder: Path) -> Iterator[str]:
  """Yields the paths of all files below `folder`, relative to it, with '/', sorted.

  Skips hidden files and folders, and links to a folder above.
  """

  def is_loop(parent: str, name: str) -> bool:
    target = os.path.realpath(os.path.join(parent, name))
    return os.path.commonpath([os.path.realpath(parent), target]) == target

  for parent, folders, names in os.walk(folder, followlinks=True):
    folders[:] = sorted(
      name for name in folders if not name.startswith('.') and not is_loop(parent, name)
    )
    relative = Path(parent).relative_to(folder).as_posix()
    for name in sorted(names):
      if not name.startswith('.'):
        yield name if relative == '.' else f'{relative}/{name}'


def is_recording(path: str) -> bool:
  """Whether a file's name ends as that of a recording."""
  return path.lower().endswith(SUFFIXES)


def recordings(folder: Path) -> tuple[list[str], list[str]]:
  """Paths of recordings and of other files below `folder`, by the ending of the name."""
  audio_paths, other_paths = [], []
  for path in files(folder):
    (audio_paths if is_recording(path) else other_paths).append(path)
  return audio_paths, other_paths


def seen(paths: Iterable[str]) -> str:
  """The suffixes of files, most frequent first, as ' (seen: 3 .txt)'; '' for no files."""
  counts = Counter(PurePosixPath(path).suffix.lower() or 'without suffix' for path in paths)
  said = ', '.join(f'{count} {suffix}' for suffix, count in counts.most_common(5))
  return f' (seen: {said})' if said else ''


def check_counts(classes: tuple[str, ...], labels: list[str], source: str) -> None:
  """Checks that every class has enough clips for three parts.

  Args:
    classes: names of the classes.
    labels: the class of each clip.
    source: of the clips, for the message.

  Raises:
    UserError: a class has fewer than 3 clips.
  """
  counts = Counter(labels)
  few = [f'{name} ({counts[name]})' for name in classes if counts[name] < FEWEST_CLIPS]
  if few:
    more = f' and {len(few) - 5} more classes' if len(few) > 5 else ''
    raise UserError(
      f'{source}: fewer than {FEWEST_CLIPS} clips in {", ".join(few[:5])}{more}: '
      'add recordings or remove the class'
    )


def missing_error(root: Path, expected: str, fix: str) -> UserError:
  """The error if a folder does not contain what its corpus consists of.

  Args:
    root: the folder, perhaps absent.
    expected: what the folder should contain.
    fix: what the user can do, as an imperative clause.
  """
  if not root.exists():
    state = 'is not there'
  else:
    state = f'has no {expected}' if root.is_dir() else 'is not a folder'
  return UserError(f'--raw_dir: {root} {state}: {fix}')
