"""Pictures of a recording: its log-Mel spectrogram, and each class or its events over time."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from data_prep import files, mel
from data_prep.errors import UserError
from data_prep.features import Features
from m3net_jax.inference import detector
from m3net_jax.inference.detection import Detection
from m3net_jax.inference.predictions import Prediction

_RANGE_DB = 80.0  # from the brightest colour to black
_MOST_CLASSES = 12  # rows of the picture


def check_path(path: Path) -> None:
  """Raises UserError if no picture can be written at `path`."""
  if path.suffix.lower() not in files.FIGURES:
    raise UserError(f'--plot={path}: give a file that ends in {", ".join(files.FIGURES)}')
  if not path.absolute().parent.is_dir():
    raise UserError(f'--plot={path}: the folder {path.parent} does not exist: make it first')


def write(path: Path, prediction: Prediction, samples: np.ndarray, features: Features) -> None:
  """Writes the picture of a recording.

  Args:
    samples: [samples] float32 of the recording at the model's rate.
    features: the model's.
  """
  classes, probabilities, segments = (
    prediction.classes,
    prediction.probabilities,
    prediction.segments,
  )
  seconds = prediction.seconds
  # Of many classes the ones with the highest probabilities: the others would be empty rows.
  order = np.sort(np.argsort(-probabilities.max(0), kind='stable')[:_MOST_CLASSES])
  figure = Figure(figsize=(10, 2.8 + 0.28 * len(order)), layout='constrained')
  above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.0, 0.28 * len(order)))
  spectrogram = _spectrogram(samples, features)
  above.imshow(
    spectrogram,
    origin='lower',
    aspect='auto',
    extent=(0, seconds, 0, features.n_mels),
    cmap='magma',
    vmin=spectrogram.max() - min(features.range_db, _RANGE_DB),
  )
  above.set(ylabel='Mel filter', title=prediction.name)
  middles = (np.array(prediction.starts) + features.num_samples / 2) / features.sample_rate
  edges = np.array([0.0, *((middles[1:] + middles[:-1]) / 2), seconds])
  picture = below.pcolormesh(
    edges, np.arange(len(order) + 1), probabilities[:, order].T, cmap='Blues', vmin=0, vmax=1
  )
  below.set_yticks(np.arange(len(order)) + 0.5, [classes[index] for index in order])
  below.set(xlabel='time (s)', xlim=(0, seconds))
  below.invert_yaxis()
  for segment in segments:
    above.axvline(segment.start, color='white', linewidth=0.6, alpha=0.6)
    above.annotate(
      'silence' if segment.is_silent else classes[segment.label],
      ((segment.start + segment.end) / 2, 0.93 * features.n_mels),
      color='white',
      ha='center',
      va='center',
      fontsize=8 if len(segments) <= 40 else 5,
      clip_on=True,
      bbox={'facecolor': 'black', 'alpha': 0.6, 'pad': 1.0, 'linewidth': 0},
    )
  figure.colorbar(picture, ax=below, label='probability', fraction=0.03, pad=0.01)
  files.write_figure(path, figure)


def write_events(path: Path, found: Detection, samples: np.ndarray) -> None:
  """Writes the picture of a stream: spectrogram, mean probabilities and events.

  Args:
    samples: [samples] float32 of the stream.
  """
  settings, features = found.settings, found.features
  seconds = len(samples) / features.sample_rate
  means = detector.totals(found.stored, settings.smooth) / (settings.smooth * detector.ONE)
  order = np.sort(np.argsort(-means.max(0), kind='stable')[:_MOST_CLASSES])
  figure = Figure(figsize=(10, 2.8 + 0.28 * len(order)), layout='constrained')
  above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.0, 0.28 * len(order)))
  spectrogram = _spectrogram(samples, features)
  above.imshow(
    spectrogram,
    origin='lower',
    aspect='auto',
    extent=(0, seconds, 0, features.n_mels),
    cmap='magma',
    vmin=spectrogram.max() - min(features.range_db, _RANGE_DB),
  )
  above.set(ylabel='Mel filter', title=found.name)
  ends = detector.seconds(np.arange(len(means) + 1), settings, features)
  picture = below.pcolormesh(
    ends, np.arange(len(order) + 1), means[:, order].T, cmap='Blues', vmin=0, vmax=1
  )
  below.set_yticks(np.arange(len(order)) + 0.5, [found.classes[index] for index in order])
  below.set(xlabel='time at which a window ends (s)', xlim=(0, seconds))
  below.invert_yaxis()
  rows = found.rows()
  for time, label, _ in rows:
    above.axvline(time, color='white', linewidth=0.6, alpha=0.6)
    above.annotate(
      label,
      (time, 0.93 * features.n_mels),
      color='white',
      ha='right',
      va='center',
      fontsize=8 if len(rows) <= 20 else 5,
      clip_on=True,
      bbox={'facecolor': 'black', 'alpha': 0.6, 'pad': 1.0, 'linewidth': 0},
    )
  figure.colorbar(picture, ax=below, label='mean probability', fraction=0.03, pad=0.01)
  files.write_figure(path, figure)


def _spectrogram(samples: np.ndarray, features: Features) -> np.ndarray:
  """The spectrograms of consecutive clips, [n_mels, frames] dB, without the padding of the last."""
  length = features.num_samples
  starts = range(0, len(samples), length)
  clips = [mel.fit_length(samples[start : start + length], features) for start in starts]
  spectrogram = np.concatenate([mel.log_mel(clip, features) for clip in clips], 1)
  frames = round(spectrogram.shape[1] * len(samples) / (len(clips) * length))
  return spectrogram[:, : max(1, frames)]
