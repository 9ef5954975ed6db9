"""From a corpus to its store: finds what is already done, computes the rest in several processes, writes.

Finished clips go to a journal beside the store as they come, so an interrupted
preparation continues, and a store whose corpus has changed is made anew from its own
unchanged clips. Knows of no flags.
"""

import contextlib
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import filelock
import joblib
import numpy as np
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm.auto import tqdm

from data_prep import audio, compute, corpora, mel, store, workers
from data_prep import download as downloads
from data_prep.compute import Key, Measured, Result
from data_prep.corpora.base import Clip, Corpus, enough, files, is_recording
from data_prep.errors import UserError
from data_prep.features import Features
from data_prep.files import write_bytes
from data_prep.journal import Done, Journal, blocks

CHUNK = 64  # clips a worker takes at once
_ALONE = 2 * CHUNK  # fewer clips than this are done before another process has started


def prepare(
  corpus_name: str,
  raw_dir: str | os.PathLike[str],
  store_dir: str | os.PathLike[str],
  features: Features,
  *,
  skip_unreadable: bool = False,
  download: bool = False,
  num_processes: int | None = None,
) -> Path:
  """Makes the store of a corpus where there is none that still fits its recordings.

  Args:
    corpus_name: one of `corpora.NAMES`.
    raw_dir: see `corpora.locate`.
    store_dir: the folder of stores.
    skip_unreadable: leave out recordings that cannot be decoded; they are listed in the manifest.
    download: fetch the corpus where its folder is absent.
    num_processes: None for one a core.

  A recording has changed where its size or time of change has, and with the time its SHA-256.

  Returns:
    The store's folder.

  Raises:
    UserError: unknown corpus; folder missing, empty or not as expected; a class with fewer than three clips;
      undecodable recordings; an altered store.
  """
  module = corpora.get(corpus_name)
  root = corpora.locate(corpus_name, raw_dir)
  own = root == Path(raw_dir) and root.is_dir()
  if download and hasattr(module, 'DOWNLOAD') and own and not any(map(is_recording, files(root))):
    raw_dir = root = root / corpus_name  # what lies there is something else
  path = Path(store_dir) / store.name(corpus_name, features)
  with _locked(path):
    if not root.exists():
      if (path / 'manifest.json').exists():
        _say(f'{root} is not there; using {path} without comparing it with its recordings')
        store.same_features(
          path, Features.from_json(store.read_manifest(path, whole=False)['features']), features
        )
        return path
      with _locked(root):
        if not root.exists():
          _obtain(module, root, download, num_processes)
    corpus = corpora.read(corpus_name, raw_dir)
    old = _Old.of(path, corpus_name, features, corpus.root)
    if old is not None and old.fits(corpus):
      _refuse_unreadable(path, old.skipped, len(old.files), skip_unreadable)
      return path
    _make(
      path,
      corpus_name,
      corpus,
      features,
      {} if old is None else old.reusable(),
      skip_unreadable,
      num_processes,
    )
  return path


def _obtain(module: ModuleType, root: Path, download: bool, num_processes: int | None) -> None:
  """Makes or fetches an absent corpus where it can be; `corpora.read` complains where it is still absent."""
  if hasattr(module, 'make'):
    module.make(root, num_processes)
  elif download and hasattr(module, 'DOWNLOAD'):
    downloads.fetch(module.DOWNLOAD, root)
  elif download:
    raise UserError(
      f'--download: {getattr(module, "MEND", f"put the recordings into {root} by hand")}'
    )


class _Old:
  """A store that is there, compared with the corpus as it is now."""

  def __init__(self, path: Path, root: Path):
    self.path, self.root = path, root
    self.clips = store.read_clips(path)
    recordings = store.read_recordings(path)
    self.files = {row.path: row for row in recordings}
    self.skipped = {row.path: row.skipped for row in recordings if row.skipped}
    self._same: dict[str, bool] = {}

  @classmethod
  def of(cls, path: Path, corpus_name: str, features: Features, root: Path) -> '_Old | None':
    if not path.exists():
      return None
    manifest = store.read_manifest(path, whole=False)
    store.same_features(path, Features.from_json(manifest['features']), features)
    if manifest['corpus'] != corpus_name:
      raise UserError(
        f'{path}: holds {manifest["corpus"]}, not {corpus_name}: give another --store_dir'
      )
    old = cls(path, root)
    known = os.path.abspath(root)
    if manifest['raw_dir'] != known and not all(old.unchanged(each) for each in old.files):
      raise UserError(
        f'{path}: was made from {manifest["raw_dir"]}, and {known} holds other recordings: give another '
        '--store_dir, or delete the store'
      )
    return old

  def unchanged(self, recording: str) -> bool:
    """By size and time of change; by its hash where only the time differs."""
    if recording not in self._same:
      row, (size, mtime_ns) = self.files[recording], compute.state(self.root / recording)
      self._same[recording] = (size, mtime_ns) == (row.size, row.mtime_ns) or (
        size == row.size and bool(row.sha256) and _digest(self.root / recording) == row.sha256
      )
    return self._same[recording]

  def fits(self, corpus: Corpus) -> bool:
    wanted = [clip for clip in corpus.clips if clip.path not in self.skipped]
    have = [
      Clip(row.path, row.label, row.group, row.fold, row.part, row.start, row.gain)
      for row in self.clips
    ]
    now = {clip.path for clip in corpus.clips}
    changed = [each for each in self.files if each in now and not self.unchanged(each)]
    new, gone = len(now - self.files.keys()), len(self.files.keys() - now)
    if wanted == have and not (changed or new or gone):
      return True
    _say(
      f'{self.path}: {len(changed)} recordings changed, {new} are new, {gone} are gone'
      f'{"" if changed or new or gone else ", but labels or parts differ"}; the store is made anew'
    )
    return False

  def reusable(self) -> dict[Key, Done]:
    mels = self.path / 'mels.npy'
    store.read_manifest(self.path)  # rows are taken over only from a store that is whole
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


def _make(
  path: Path,
  corpus_name: str,
  corpus: Corpus,
  features: Features,
  done: dict[Key, Done],
  skip_unreadable: bool,
  num_processes: int | None,
) -> None:
  partial = path.with_name(f'.{path.name}.partial')
  with Journal(partial, features) as journal:
    done = done | journal.done
    files = {clip.path: None for clip in corpus.clips}
    states = {each: compute.state(corpus.root / each) for each in files}
    keys = dict.fromkeys((clip.path, clip.start, clip.gain) for clip in corpus.clips)
    todo = [
      key
      for key in keys
      if key not in done or (done[key].size, done[key].mtime_ns) != states[key[0]]
    ]
    reasons, hashes = {}, {}
    for result in _progress(
      _compute_all(corpus.root, todo, features, num_processes), len(todo), len(keys), corpus_name
    ):
      if result.reason:
        reasons[result.key[0]], hashes[result.key[0]] = result.reason, result.sha256
        done.pop(result.key, None)
      else:
        done[result.key] = journal.add(result)
  _refuse_unreadable(path, reasons, len(files), skip_unreadable)
  clips, sources = [], []
  for clip in corpus.clips:
    if clip.path not in reasons:
      source = done[clip.path, clip.start, clip.gain]
      sources.append(source)
      clips.append(store.ClipRow(*clip[:5], source.sha256, clip.start, clip.gain, *source.measured))
      hashes[clip.path] = source.sha256
      states[clip.path] = source.size, source.mtime_ns
  enough(
    corpus.classes,
    [clip.label for clip in clips],
    f'--raw_dir: {corpus.root}, without its {len(reasons)} unreadable recordings'
    if reasons
    else f'--raw_dir: {corpus.root}',
  )
  parts = Counter(
    clip.path for clip in clips
  )  # one of several cut from a long recording loses nothing
  recordings = [
    store.RecordingRow(each, *states[each], hashes[each], reasons.get(each, '')) for each in files
  ]
  manifest = {
    'corpus': corpus_name,
    'raw_dir': os.path.abspath(corpus.root),
    'features': features.to_json(),
    'classes': list(corpus.classes),
    'ignored': list(corpus.ignored),
    'longer': sum(clip.seconds > features.clip_seconds and parts[clip.path] == 1 for clip in clips),
    'shorter': sum(clip.seconds < features.clip_seconds for clip in clips),
    'versions': {each: version(each) for each in ('librosa', 'numpy', 'soundfile', 'soxr')},
  }
  store.write(
    path, manifest, (len(clips), *features.shape), blocks(sources, features), clips, recordings
  )
  shutil.rmtree(partial)
  if manifest['longer']:
    _say(
      f'{corpus_name}: {manifest["longer"]} of {len(clips)} clips are longer than '
      f'--clip_seconds={features.clip_seconds:g} and lose their end'
    )
  if reasons:
    _say(
      f'{corpus_name}: {len(reasons)} unreadable recordings left out, listed in {path / "manifest.json"}'
    )


def _compute_all(
  root: Path, keys: Sequence[Key], features: Features, num_processes: int | None
) -> Iterator[Result]:
  """Results in the order in which they are finished."""
  if not keys:
    return
  made = mel.tables(features)
  chunks = [keys[first : first + CHUNK] for first in range(0, len(keys), CHUNK)]
  processes = num_processes or workers.num_cores()
  if len(keys) <= _ALONE:
    processes = 1
  work = workers.parallel(processes)
  try:
    for results in work(
      joblib.delayed(compute.chunk)(root, each, features, made) for each in chunks
    ):
      yield from results
  except TerminatedWorkerError as error:
    raise UserError(
      '--num_processes: one of the processes was killed, perhaps for lack of memory: run again with '
      f'fewer than {processes}; what is finished is kept'
    ) from error


def _refuse_unreadable(path: Path, reasons: dict[str, str], total: int, skip: bool) -> None:
  """Raises UserError with the first few unreadable recordings; all of them go to a file."""
  listing = path.with_name(f'{path.name}.unreadable.txt')
  if not reasons or skip:
    listing.unlink(missing_ok=True)
    return
  text = ''.join(f'{name}\t{reason}\n' for name, reason in sorted(reasons.items()))
  write_bytes(listing, text.encode(errors='surrogateescape'))
  few = ', '.join(f'{name} ({reason})' for name, reason in sorted(reasons.items())[:3])
  more = f' and {len(reasons) - 3} more' if len(reasons) > 3 else ''
  raise UserError(
    f'{len(reasons)} of {total} recordings cannot be decoded: {few}{more}; all are listed in {listing}: '
    'mend or remove them, or give --skip_unreadable'
  )


def _progress(results: Iterator[Result], todo: int, total: int, name: str) -> Iterator[Result]:
  if todo:
    _say(
      f'{name}: computing the features of {todo} clips'
      f'{f", {total - todo} are done already" if todo < total else ""}'
    )
  return iter(
    tqdm(
      results,
      f'{name}: features',
      todo,
      unit='clip',
      disable=None if todo else True,
      dynamic_ncols=True,
    )
  )


def _digest(path: Path) -> str:
  try:
    return audio.digest(audio.load(path))
  except audio.Unreadable:
    return ''


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
  """Two commands that want the same store make it once; the lock goes with the process, however it ends."""
  path.parent.mkdir(parents=True, exist_ok=True)
  lock = filelock.FileLock(path.with_name(f'.{path.name}.lock'))
  try:
    lock.acquire(blocking=False)
  except filelock.Timeout:
    _say(f'{path} is being made by another command; waiting for it')
    lock.acquire()
  try:
    yield
  finally:
    lock.release()


def _say(message: str) -> None:
  print(message, file=sys.stderr, flush=True)
