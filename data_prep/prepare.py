"""Prepares the store of a corpus: keeps what is done, computes the rest in several processes.

Finished clips go to a journal beside the store, so that an interrupted preparation continues. If a
corpus has changed, the unchanged clips of its store are kept.
"""

import contextlib
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm.auto import tqdm

from data_prep import compute, corpora, mel, store, workers
from data_prep import download as downloads
from data_prep.compute import Key, Result
from data_prep.corpora.base import Corpus, check_counts, files, is_recording
from data_prep.corpora.csv import LISTING
from data_prep.errors import UserError
from data_prep.features import Features
from data_prep.files import lock_beside, locked, write_bytes
from data_prep.journal import Done, Journal, blocks, folder_of
from data_prep.names import visible
from data_prep.previous import PreviousStore, beside, place

CHUNK = 64  # clips per call of a worker; more if they are cut from one recording
_LARGEST_CHUNK = 1024
_MAX_SERIAL = 2 * CHUNK  # up to this many clips, one process is faster than several


def prepare(
  corpus_name: str,
  raw_dir: str | os.PathLike[str],
  store_dir: str | os.PathLike[str],
  features: Features,
  *,
  skip_unreadable: bool = False,
  download: bool = False,
  silence_clips: int | None = None,
  num_processes: int | None = None,
) -> Path:
  """Prepares the store of a corpus, unless a store exists that still fits the recordings.

  A recording has changed if its size differs, or both its modification time and its SHA-256.

  Args:
    corpus_name: one of `corpora.NAMES`.
    raw_dir: see `corpora.locate`.
    store_dir: the folder of stores. Corpora of one's own with the same features have stores of
      their own in it, see `previous.place`.
    features: the settings of the features.
    skip_unreadable: leave out recordings that cannot be decoded; they are listed in the manifest.
    download: download the corpus if its folder is absent.
    silence_clips: number of clips of silence cut from the noise of a `folder` corpus (None: see
      `corpora.folder.read`).
    num_processes: number of processes; None for one per core.

  Returns:
    The store's folder.

  Raises:
    UserError: the corpus is unknown; its folder is absent, empty or not as expected; a class has
      fewer than three clips; recordings cannot be decoded; silence is asked for without noise; the
      store was altered; or the folder is absent and the store was made from another one.
  """
  module = corpora.get(corpus_name)
  root = corpora.locate(corpus_name, raw_dir)
  is_raw_dir = root == Path(raw_dir) and root.is_dir()
  can_download = download and hasattr(module, 'DOWNLOAD')
  if can_download and is_raw_dir and not any(map(is_recording, files(root))):
    raw_dir = root = root / corpus_name  # the folder has files, but no recordings
  path = Path(store_dir) / store.name(corpus_name, features)
  with locked(path, lock_beside(path)):
    if not root.exists():
      sources = [root, Path(raw_dir), root / LISTING]
      if found := _without_recordings(path, corpus_name, sources, can_download):
        _say(f'{root} is not there; using {found} without comparing it with its recordings')
        manifest = store.read_manifest(found, hash_mels=False)
        store.same_features(found, Features.from_json(manifest['features']), features)
        return found
      with locked(root, lock_beside(root)):
        if not root.exists():
          _obtain(module, root, download, num_processes)
    corpus = corpora.read(corpus_name, raw_dir, silence_clips, features.clip_seconds)
    if corpus_name in corpora.OWN:
      path = place(path, corpus)
    previous = PreviousStore.read(path, corpus_name, features, corpus.root)
    done: dict[Key, Done] = {}
    if previous is not None:
      difference = previous.difference(corpus)
      if not difference:
        _refuse_unreadable(path, previous.skipped, len(previous.files), skip_unreadable)
        if previous.has_moved:
          with contextlib.suppress(OSError):  # such as that the store cannot be written to
            store.relocate(path, os.path.abspath(corpus.root))
        return path
      _say(f'{path}: {difference}; the store is prepared again')
      done = previous.reusable()
    for note in corpus.notes:
      _say(f'{corpus_name}: {note}')
    _make(path, corpus_name, corpus, features, done, skip_unreadable, silence_clips, num_processes)
  return path


def _without_recordings(
  path: Path, corpus_name: str, sources: Sequence[Path], can_download: bool
) -> Path | None:
  """The store at `path`, or one of those beside it, if it fits absent folders.

  It fits if it was made from one of `sources`, or if a program makes the corpus.

  Raises:
    UserError: there are stores, and all were made from something else.
  """
  made_from = {
    each: store.claims(each)['source'] for each in beside(path) if (each / 'manifest.json').exists()
  }
  for each, source in made_from.items():
    if source in map(os.path.abspath, sources) or hasattr(corpora.get(corpus_name), 'make'):
      return each
  if made_from and not can_download:
    raise UserError(
      f'--raw_dir: {sources[0]} is not there, and '
      + ', '.join(f'{each} was made from {source}' for each, source in made_from.items())
      + ': correct it; to use a store without its recordings, give what it was made from'
    )
  return None


def _obtain(module: ModuleType, root: Path, download: bool, num_processes: int | None) -> None:
  """Makes or downloads an absent corpus if possible.

  Raises:
    UserError: the corpus cannot be downloaded.
  """
  if hasattr(module, 'make'):
    module.make(root, num_processes)
  elif download and hasattr(module, 'DOWNLOAD'):
    downloads.fetch(module.DOWNLOAD, root)
  elif download:
    fix = getattr(module, 'FIX', f'put the recordings into {root} by hand')
    raise UserError(f'--download: {fix}')


def _make(
  path: Path,
  corpus_name: str,
  corpus: Corpus,
  features: Features,
  done: dict[Key, Done],
  skip_unreadable: bool,
  silence_clips: int | None,
  num_processes: int | None,
) -> None:
  """Computes the clips of a corpus that are not in `done` and writes the store."""
  partial, raw_dir = folder_of(path), os.path.abspath(corpus.root)
  with Journal(partial, features, raw_dir) as journal:
    done = done | journal.done
    files = {clip.path: None for clip in corpus.clips}
    states = {name: compute.state(corpus.root / name) for name in files}
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
  check_counts(
    corpus.classes,
    [clip.label for clip in clips],
    f'--raw_dir: {corpus.root}, without its {len(reasons)} unreadable recordings'
    if reasons
    else f'--raw_dir: {corpus.root}',
  )
  # If several clips are cut from a recording, none counts as longer than a clip.
  parts = Counter(clip.path for clip in clips)
  recordings = [
    store.RecordingRow(name, *states[name], hashes[name], reasons.get(name, '')) for name in files
  ]
  manifest = {
    'corpus': corpus_name,
    'raw_dir': raw_dir,
    'listing': corpus.listing,
    'features': features.to_json(),
    'classes': list(corpus.classes),
    'ignored': list(corpus.ignored),
    'silence_clips': silence_clips,
    'longer': sum(clip.seconds > features.clip_seconds and parts[clip.path] == 1 for clip in clips),
    'shorter': sum(clip.seconds < features.clip_seconds for clip in clips),
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
  for note in _under_two_labels(clips):
    _say(f'{corpus_name}: {note}')
  if reasons:
    _say(
      f'{corpus_name}: {len(reasons)} unreadable recordings are left out and listed in '
      f'{path / "manifest.json"}'
    )


def _compute_all(
  root: Path, keys: Sequence[Key], features: Features, num_processes: int | None
) -> Iterator[Result]:
  """Yields the results in the order of completion."""
  if not keys:
    return
  mel_tables = mel.tables(features)
  processes = num_processes or workers.num_cores()
  if len(keys) <= _MAX_SERIAL:
    processes = 1
  work = workers.parallel(processes)
  try:
    for results in work(
      joblib.delayed(compute.chunk)(root, chunk, features, mel_tables) for chunk in _chunks(keys)
    ):
      yield from results
  except TerminatedWorkerError as error:
    raise UserError(
      '--num_processes: one of the processes was killed, perhaps for lack of memory: run again '
      f'with fewer than {processes}; finished clips are kept'
    ) from error


def _under_two_labels(clips: Sequence[store.ClipRow]) -> list[str]:
  """One line on clips that are byte-identical and have different labels; none without such."""
  by_clip: dict[tuple[str, float], dict[str, str]] = {}
  for clip in clips:
    by_clip.setdefault(clip.identity, {}).setdefault(clip.label, clip.path)
  doubtful = [found for found in by_clip.values() if len(found) > 1]
  if not doubtful:
    return []
  first = ' and '.join(f'{visible(path)} ({label})' for label, path in doubtful[0].items())
  return [f'{len(doubtful)} recordings are there under two labels, such as {first}']


def _chunks(keys: Sequence[Key]) -> Iterator[list[Key]]:
  """Yields the keys in chunks, those of one recording together: it is decoded once."""
  by_recording: dict[str, list[Key]] = {}
  for key in keys:
    by_recording.setdefault(key[0], []).append(key)
  chunk: list[Key] = []
  for of_recording in by_recording.values():
    for first in range(0, len(of_recording), _LARGEST_CHUNK):
      chunk += of_recording[first : first + _LARGEST_CHUNK]
      if len(chunk) >= CHUNK:
        yield chunk
        chunk = []
  if chunk:
    yield chunk


def _refuse_unreadable(path: Path, reasons: dict[str, str], total: int, skip: bool) -> None:
  """Raises UserError with the first three unreadable recordings; lists all of them in a file."""
  listing = path.with_name(f'{path.name}.unreadable.txt')
  if not reasons or skip:
    if listing.exists():  # a disk that is read-only refuses to delete what is not there
      listing.unlink()
    return
  text = ''.join(f'{name}\t{reason}\n' for name, reason in sorted(reasons.items()))
  write_bytes(listing, text.encode(errors='surrogateescape'))
  few = ', '.join(f'{name} ({reason})' for name, reason in sorted(reasons.items())[:3])
  more = f' and {len(reasons) - 3} more' if len(reasons) > 3 else ''
  raise UserError(
    f'{len(reasons)} of {total} recordings cannot be decoded: {few}{more}; all are listed in '
    f'{listing}: fix or remove them, or pass --skip_unreadable'
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


def _say(message: str) -> None:
  print(message, file=sys.stderr, flush=True)
