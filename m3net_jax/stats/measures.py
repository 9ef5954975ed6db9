"""Measures of a lane's answers that hold if classes are of unequal size. Pure functions."""

import numpy as np


def recalls(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
  """The share of the clips of each class that are answered correctly.

  Args:
    predicted, labels: [clips] classes.

  Returns:
    [num_classes]; NaN for a class without clips.
  """
  clips = np.bincount(labels, minlength=num_classes)
  correct = np.bincount(labels[predicted == labels], minlength=num_classes)
  return np.where(clips > 0, correct / np.maximum(clips, 1), np.nan)


def balanced_accuracy(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> float:
  """The mean of `recalls` over the classes that have clips."""
  return float(np.nanmean(recalls(predicted, labels, num_classes)))


def macro_f1(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> float:
  """The mean over the classes that have clips of F1, 2 correct / (clips + answers)."""
  clips = np.bincount(labels, minlength=num_classes)
  answers = np.bincount(predicted, minlength=num_classes)
  correct = np.bincount(labels[predicted == labels], minlength=num_classes)
  f1 = 2 * correct / np.maximum(clips + answers, 1)
  return float(f1[clips > 0].mean())


def balanced_weights(labels: np.ndarray, num_classes: int) -> np.ndarray:
  """Weights [num_classes] that give every class the same weight in a mean over these clips.

  Args:
    labels: [clips] classes; every class has a clip.
  """
  clips = np.bincount(labels, minlength=num_classes)
  return (len(labels) / (num_classes * clips)).astype(np.float32)
