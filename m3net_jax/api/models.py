"""A trained model on recordings: the best lane of a study, or a bundle."""

import os
from pathlib import Path

import numpy as np

from data_prep import audio
from m3net_jax.inference import classifier, detection, predictions
from m3net_jax.inference.classifier import Classifier
from m3net_jax.inference.detection import Detection
from m3net_jax.inference.predictions import Prediction
from m3net_jax.study import streams

PathLike = str | os.PathLike[str]


def load_model(path: PathLike, variant: str | None = None, seed: int | None = None) -> Classifier:
  """A trained model: the best lane of a study's folder, a bundle's folder or its .tflite file.

  Args:
    variant, seed: choose a lane of a study.

  Raises:
    UserError: `path` is none of these, or the study has no such lane.
  """
  return classifier.load(os.fspath(path), variant, seed)


def classify(
  model: Classifier,
  recording: PathLike | np.ndarray,
  rate: int | None = None,
  hop_seconds: float | None = None,
) -> Prediction:
  """Classifies a file or an array.

  Args:
    recording: a file, or mono samples [samples] in -1..1. More than 1.1 clips are classified
      window by window; less is cut or padded as in training.
    rate: of the array, Hz (default: the model's).
    hop_seconds: from one window to the next (default: half a clip).

  Raises:
    data_prep.audio.Unreadable: the file cannot be decoded, with the reason.
    UserError: hop_seconds is not within a clip.
  """
  features = model.spec.features
  hop = predictions.hop_of(hop_seconds, features)
  if isinstance(recording, np.ndarray):
    samples = audio.resample(
      recording.astype(np.float32), rate or features.sample_rate, features.sample_rate
    )
    return predictions.classify(model, 'array', samples, hop)
  blocks = audio.blocks(recording, features.sample_rate)
  return predictions.classify(model, os.fspath(recording), blocks, hop)


def listen(
  model: Classifier,
  recording: PathLike | np.ndarray,
  rate: int | None = None,
  *,
  threshold: float | None = None,
  truth: PathLike | None = None,
  name: str | None = None,
) -> Detection:
  """Finds the words of a stream.

  Args:
    recording: a file, or mono samples [samples] in -1..1.
    rate: of the array, Hz (default: the model's).
    threshold: for all classes, 0 to 1 (default: those of the model).
    truth: what is said: a csv with the columns start, end (s) and label, or labels of Audacity.
    name: of the stream, for messages.

  Raises:
    data_prep.audio.Unreadable: the file cannot be decoded, with the reason.
    UserError: see `inference.detection.detect`; `truth` cannot be read.
  """
  sample_rate = model.spec.features.sample_rate
  if isinstance(recording, np.ndarray):
    samples = audio.resample(recording.astype(np.float32), rate or sample_rate, sample_rate)
  else:
    samples, name = audio.read(recording, sample_rate), name or os.fspath(recording)
  words = None if truth is None else streams.read_words(Path(truth))
  return detection.detect(model, samples, name or 'array', threshold=threshold, words=words)
