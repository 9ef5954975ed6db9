"""Labelled streams: words of a study's validation or test clips over background noise.

A stream is an audio file with, beside it, a table of what was said when. What is heard follows from
the seed, so a stream can be made again.
"""

import csv
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from data_prep import audio, background, compute, files, mel, negatives
from data_prep import store as stores
from data_prep.background import Noise
from data_prep.errors import UserError
from data_prep.features import Features
from data_prep.store import Store
from m3net_jax.study.splits import Split

SIDES = ('validation', 'test')
SPEECH_LEVEL = 10.0 ** (-26 / 20)  # root mean square of a word in its window, full scale 1
GAPS = (0.5, 5.0)  # s, between two words
_FADE = 0.05  # s, from one noise recording to the next


class Word(NamedTuple):
  """A word of a stream; `start` and `end` in s."""

  start: float
  end: float
  label: str


def compose(
  clips: Sequence[tuple[str, Callable[[], np.ndarray]]],
  noises: Sequence[Noise],
  features: Features,
  *,
  seconds: float,
  snr_db: float,
  seed: Sequence[int],
) -> tuple[np.ndarray, list[Word]]:
  """A stream and what is said in it.

  The clips follow each other in random order, all of them before one comes again, with gaps of
  uniform random length in `GAPS`. The noise has one level from start to end; a word is as loud as
  the ratio says, by the energy of its window of a clip (as in `background.mixed`).

  Args:
    clips: label of each clip, and a function that reads its samples [any] without padding.
    noises: recordings, taken in random order and faded into each other.
    seconds: length of the stream.
    seed: of the random numbers.

  Returns:
    Samples [seconds * sample_rate] float32, limited to -1..1, and the words in order.
  """
  rng = np.random.default_rng(seed)
  length = round(seconds * features.sample_rate)
  stream = SPEECH_LEVEL * np.float32(10.0 ** (-snr_db / 20)) * _bed(noises, length, features, rng)
  words: list[Word] = []
  order: list[int] = []
  place = _gap(rng, features)
  while True:
    if not order:
      order = rng.permutation(len(clips)).tolist()
    label, read = clips[order.pop()]
    samples = read()
    if place + max(len(samples), features.num_samples) > length:
      break
    loudness = background.level(mel.fit_length(samples, features))
    if loudness > background.SILENT:
      stream[place : place + len(samples)] += np.float32(SPEECH_LEVEL / loudness) * samples
      end = place + len(samples)
      words.append(Word(place / features.sample_rate, end / features.sample_rate, label))
      place = end
    place += _gap(rng, features)
  return np.clip(stream, -1.0, 1.0), words


def sides_of(noises: Sequence[Noise]) -> dict[str, list[Noise]]:
  """Deals noise recordings to validation and test, so that no recording is in both.

  Raises:
    UserError: there are fewer than two.
  """
  ordered = sorted(noises, key=lambda noise: noise.sha256 or noise.name)
  if len(ordered) < 2:
    raise UserError(
      '--noise_dir: holds one recording, and validation and test need different ones: give more'
    )
  return {'validation': ordered[0::2], 'test': ordered[1::2]}


def clips_of(
  store: Store, split: Split, side: str, raw_dir: str | os.PathLike[str] | None = None
) -> list[tuple[str, Callable[[], np.ndarray]]]:
  """The clips of one side of a split for `compose`, without those of silence.

  Args:
    raw_dir: folder of the corpus (default: where it was when the store was made).

  Raises:
    UserError: the store was made of arrays, or there is no clip.
  """
  if not (raw_dir or store.manifest['raw_dir']):
    raise UserError(f'{store.path}: was made of arrays, so there are no recordings to join')
  root = Path(raw_dir or store.manifest['raw_dir'])
  rows = stores.read_clips(store.path)
  chosen = [rows[i] for i in getattr(split, side) if rows[i].label != negatives.SILENCE]
  if not chosen:
    raise UserError(f'{store.path}: no clip of the {side} split holds a word')

  def reader(row: stores.ClipRow) -> Callable[[], np.ndarray]:
    return lambda: samples_of(root, row, store.features)

  return [(row.label, reader(row)) for row in chosen]


def samples_of(root: Path, row: stores.ClipRow, features: Features) -> np.ndarray:
  """The samples of a clip, [at most num_samples], as the store was made of them.

  Raises:
    UserError: the recording is absent, cannot be decoded or has changed.
  """
  try:
    data = audio.load(root / row.path)
    if audio.digest(data) != row.sha256:
      raise UserError(
        f'{root / row.path}: has changed since the store was made: restore the recording'
      )
    samples = audio.resample(*audio.decode(data), features.sample_rate)
  except audio.Unreadable as error:
    raise UserError(f'{root / row.path}: cannot be decoded ({error}): restore it') from error
  return compute.cut(samples, row.start, row.gain, features)


def write(path: Path, samples: np.ndarray, words: Sequence[Word], features: Features) -> None:
  """Writes a stream as 16-bit FLAC and its words as a table with the same name and `.csv`."""
  content = io.BytesIO()
  soundfile.write(content, samples, features.sample_rate, subtype='PCM_16', format='FLAC')
  table = io.StringIO()
  rows = csv.writer(table, lineterminator='\n')
  rows.writerow(Word._fields)
  rows.writerows((f'{word.start:.4f}', f'{word.end:.4f}', word.label) for word in words)
  files.write_bytes(path.with_suffix('.csv'), table.getvalue().encode())
  files.write_bytes(path, content.getvalue())


def read_words(path: Path) -> list[Word]:
  """The words of a stream: a csv with the columns start, end, label, or labels of Audacity.

  Raises:
    UserError: the file cannot be read or has other content.
  """
  fix = 'give a csv with the columns start,end,label (s), or exported labels of Audacity'
  try:
    text = path.read_text(encoding='utf-8-sig')
  except (OSError, UnicodeDecodeError) as error:
    raise UserError(f'--truth={path}: {getattr(error, "strerror", None) or error}: {fix}') from None
  first = text.partition('\n')[0]
  separator = '\t' if '\t' in first else ','
  rows = [row for row in csv.reader(io.StringIO(text), delimiter=separator) if row]
  if rows and [cell.strip().lower() for cell in rows[0]] == list(Word._fields):
    rows = rows[1:]
  elif separator == ',':
    raise UserError(f'--truth={path}: its first line is {first[:60]!r}: {fix}')
  words = []
  for number, row in enumerate(rows, 1):
    try:
      start, end, label = row
      word = Word(float(start), float(end), label)
      if not 0 <= word.start <= word.end < float('inf'):
        raise ValueError
    except ValueError:
      raise UserError(f'--truth={path}: row {number} is {separator.join(row)!r}: {fix}') from None
    words.append(word)
  return sorted(words)


def _gap(rng: np.random.Generator, features: Features) -> int:
  return round(rng.uniform(*GAPS) * features.sample_rate)


def _bed(
  noises: Sequence[Noise], length: int, features: Features, rng: np.random.Generator
) -> np.ndarray:
  """Noise [length] float32 of root mean square 1 in each recording."""
  fade = round(_FADE * features.sample_rate)
  rise = np.linspace(0.0, 1.0, fade, dtype=np.float32)
  bed = np.zeros(length + fade, np.float32)
  place = 0
  while place < length:
    samples = noises[rng.integers(len(noises))].samples
    samples = samples / np.float32(background.level(samples))
    samples[:fade] *= rise
    samples[-fade:] *= rise[::-1]
    part = samples[: len(bed) - place]
    bed[place : place + len(part)] += part
    place += max(1, len(samples) - fade)
  return bed[:length]
