"""Compares an existing store with its corpus as it is now."""

import itertools
import os
from pathlib import Path

import numpy as np

from data_prep import audio, compute, journal, store
from data_prep.compute import Key, Measured
from data_prep.corpora.base import Clip, Corpus
from data_prep.errors import UserError
from data_prep.features import Features
from data_prep.journal import Done


def beside(first: Path) -> list[Path]:
  """The stores with the features of the store at `first`: it and those with a number behind it."""
  numbered = sorted(first.parent.glob(f'{first.name}-*'))
  return [path for path in (first, *numbered) if path.is_dir()]


def place(first: Path, corpus: Corpus) -> Path:
  """The folder of the store of a corpus of one's own, as several may have the same features.

  It is the store that was made from the corpus's folder or csv file, else one with the same
  recordings, such as after a move, else a new one.

  Args:
    first: of the stores with these features; the others have a number behind its name.

  Raises:
    UserError: a store that may be the one of this corpus is damaged.
  """
  raw_dir = os.path.abspath(corpus.root)
  stores = beside(first)
  for path in stores:
    if store.claims(path)['source'] == store.source(raw_dir, corpus.listing):
      return path
  for path in stores:
    manifest = store.read_manifest(path, hash_mels=False)  # raises if it is damaged
    previous = PreviousStore(path, corpus.root)
    has_moved = previous.has_moved and manifest.get('listing', '') == corpus.listing
    # A copy that has changed since leaves the store to the original.
    if previous.all_unchanged() and (has_moved or not previous.difference(corpus)):
      return path
  numbered = (first.with_name(f'{first.name}-{number}') for number in itertools.count(2))
  return next(path for path in itertools.chain([first], numbered) if _is_free(path, raw_dir))


def _is_free(path: Path, raw_dir: str) -> bool:
  """Whether there is no store, nor the journal of another folder that still exists."""
  owner = journal.owner(journal.folder_of(path))
  return not path.exists() and (owner == raw_dir or not os.path.isdir(owner))


class PreviousStore:
  """An existing store and the folder of its corpus.

  Attributes:
    path: of the store's folder.
    root: the corpus's folder.
    clips: rows of clips.csv.
    files: rows of recordings.csv by path.
    made_from: folder of the corpus when the store was made.
    skipped: the reason for each skipped recording, by path.
  """

  def __init__(self, path: Path, root: Path):
    self.path, self.root = path, root
    self.made_from = store.claims(path)['raw_dir']
    self.clips = store.read_clips(path)
    recordings = store.read_recordings(path)
    self.files = {row.path: row for row in recordings}
    self.skipped = {row.path: row.skipped for row in recordings if row.skipped}
    self._unchanged: dict[str, bool] = {}

  @classmethod
  def read(
    cls, path: Path, corpus_name: str, features: Features, root: Path
  ) -> 'PreviousStore | None':
    """The store at `path`; None if there is none.

    Raises:
      UserError: the store is damaged, has other features or holds another corpus.
    """
    if not path.exists():
      return None
    manifest = store.read_manifest(path, hash_mels=False)
    store.same_features(path, Features.from_json(manifest['features']), features)
    if manifest['corpus'] != corpus_name:
      raise UserError(
        f'{path}: holds {manifest["corpus"]}, not {corpus_name}: give another --store_dir'
      )
    previous = cls(path, root)
    if previous.made_from != os.path.abspath(root) and not previous.all_unchanged():
      raise UserError(
        f'{path}: was made from {previous.made_from}, and {root} holds other recordings: give '
        'another --store_dir or delete the store'
      )
    return previous

  def unchanged(self, recording: str) -> bool:
    """Whether the size and modification time are as stored, or the size and the SHA-256.

    In another folder than the one that the store was made from, times prove nothing.
    """
    if recording not in self._unchanged:
      row, (size, mtime_ns) = self.files[recording], compute.state(self.root / recording)
      self._unchanged[recording] = (
        (size, mtime_ns) == (row.size, row.mtime_ns)
        and self.made_from == os.path.abspath(self.root)
      ) or (size == row.size and bool(row.sha256) and _digest(self.root / recording) == row.sha256)
    return self._unchanged[recording]

  def all_unchanged(self) -> bool:
    """Whether all recordings of the store are in the corpus's folder as they were."""
    return all(map(self.unchanged, self.files))

  @property
  def has_moved(self) -> bool:
    """Whether the folder that the store was made from is gone."""
    return not os.path.isdir(self.made_from)

  def difference(self, corpus: Corpus) -> str:
    """How the corpus differs from the store; '' if the store fits it."""
    expected = [clip for clip in corpus.clips if clip.path not in self.skipped]
    stored = [
      Clip(row.path, row.label, row.group, row.fold, row.part, row.start, row.gain)
      for row in self.clips
    ]
    paths = {clip.path for clip in corpus.clips}
    changed = [path for path in self.files if path in paths and not self.unchanged(path)]
    new, gone = len(paths - self.files.keys()), len(self.files.keys() - paths)
    if changed or new or gone:
      return f'{len(changed)} recordings changed, {new} are new, {gone} are gone'
    return '' if expected == stored else 'clips, labels or parts differ'

  def reusable(self) -> dict[Key, Done]:
    """The rows of the clips whose recordings are unchanged.

    Raises:
      UserError: the store was altered.
    """
    mels = self.path / 'mels.npy'
    store.read_manifest(self.path)  # checks all hashes
    offset = np.load(mels, mmap_mode='r').offset
    return {
      (clip.path, clip.start, clip.gain): Done(
        mels,
        offset,
        row,
        self.files[clip.path].size,
        compute.state(self.root / clip.path)[1],
        clip.sha256,
        Measured(clip.seconds, clip.entropy, clip.crossings),
      )
      for row, clip in enumerate(self.clips)
      if self.unchanged(clip.path)
    }


def _digest(path: Path) -> str:
  try:
    return audio.digest(audio.load(path))
  except audio.Unreadable:
    return ''
