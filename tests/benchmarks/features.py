"""How fast recordings become a store, compared with a plain loop over librosa.

    python -m tests.benchmarks.features [--num_clips=4000] [--repeats=3]

The loop calls `librosa.load`, `librosa.feature.melspectrogram` and `librosa.power_to_db` for each
file. Both compute the same features from the same files in turns: loop, store, loop, store. The
store's time includes the start of its processes, the hashes of all recordings and the writing.
Neither time includes the import of librosa. Then random reads from a store are timed, in clips per
second.
"""

import shutil
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

import joblib
import librosa
import numpy as np
import soundfile
from absl import app, flags

from data_prep import mel, store
from data_prep.features import Features
from data_prep.prepare import prepare

_CLIPS = flags.DEFINE_integer('num_clips', 4000, 'recordings of each kind')
_REPEATS = flags.DEFINE_integer('repeats', 3, 'rounds; the median is printed')
KINDS = {'16 kHz WAV, 1 s': (16000, 1.0), '44.1 kHz WAV, 4 s, resampled': (44100, 4.0)}


def write(root: Path, rate: int, seconds: float, count: int) -> None:
  """Writes `count` WAVs of noise into two folders of `root`."""
  rng = np.random.default_rng(0)
  for number in range(count):
    path = root / 'ab'[number % 2] / f'{number}.wav'
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * rng.standard_normal(round(rate * seconds)), rate, subtype='PCM_16')


def loop(root: Path, features: Features) -> np.ndarray:
  """A user's plain loop over librosa: [clips, n_mels, frames] float32 in the order of the store."""
  mels = []
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    for path in sorted(root.rglob('*.wav'), key=lambda path: path.relative_to(root).as_posix()):
      samples, _ = librosa.load(path, sr=features.sample_rate)
      samples = librosa.util.fix_length(samples, size=features.num_samples)
      power = librosa.feature.melspectrogram(
        y=samples,
        sr=features.sample_rate,
        n_fft=features.n_fft,
        hop_length=features.hop_length,
        n_mels=features.n_mels,
      )
      mels.append(librosa.power_to_db(power))
  return np.stack(mels)


def timed(work) -> tuple[float, object]:
  """Seconds that `work()` takes, and its result."""
  start = time.perf_counter()
  result = work()
  return time.perf_counter() - start, result


def main(_) -> None:
  folder = Path(tempfile.mkdtemp())
  try:
    for kind, (rate, seconds) in KINDS.items():
      root, features = folder / f'{rate}', Features(clip_seconds=seconds)
      count = _CLIPS.value
      write(root, rate, seconds, count)
      mel.tables(features)
      librosa.load(root / 'a' / '0.wav', sr=16000)  # the first call imports much
      rounds = []
      for _ in range(_REPEATS.value):
        loop_seconds, expected = timed(lambda: loop(root, features))
        shutil.rmtree(folder / 'stores', ignore_errors=True)
        store_seconds, path = timed(lambda: prepare('folder', root, folder / 'stores', features))
        loaded = store.load(path)
        np.testing.assert_allclose(loaded.mels, expected, rtol=0, atol=0.1)
        rounds.append((loop_seconds, store_seconds))
      ratio = statistics.median(by_loop / by_store for by_loop, by_store in rounds)
      loop_rate, store_rate = (count / statistics.median(times) for times in zip(*rounds))
      print(
        f'{kind}: {count} clips, loop {loop_rate:.0f} clips/s, store {store_rate:.0f} clips/s, '
        f'{ratio:.2f} times, {joblib.cpu_count()} cores',
        flush=True,
      )
    order = np.random.default_rng(0).integers(len(loaded.labels), size=(200, 64))
    read_seconds, _ = timed(lambda: [loaded.mels[batch] for batch in order])
    print(
      f'store of {list(features.shape)}: {order.size / read_seconds:.0f} clips/s '
      'gathered in random batches of 64'
    )
  finally:
    shutil.rmtree(folder)


if __name__ == '__main__':
  sys.exit(app.run(main))
