"""A trained model from log-Mel arrays to class probabilities: a lane of a study, or a .tflite file.

Training and every way to classify share `data_prep.mel` and `image.to_image`.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from data_prep.errors import UserError
from data_prep.features import Features
from data_prep.files import json_sha256, one_line
from m3net_jax.inference import runtimes
from m3net_jax.inference.detector import Settings
from m3net_jax.network import image
from m3net_jax.network.image import Scaling

FORMAT = 2
_BLOCK = 64  # clips that are made into images together


@dataclasses.dataclass(frozen=True)
class ModelSpec:
  """The features, normalisation and classes of a model; model.json of a bundle.

  Attributes:
    name: description of the lane, for people.
    features: settings of the clips' features.
    input_shape, channels, normalisation: as in `image.to_image`.
    mean, std: statistics of the training clips, dB.
    detector: constants for streams, if they were chosen.
  """

  name: str
  classes: tuple[str, ...]
  features: Features
  input_shape: tuple[int, int, int]
  channels: str
  normalisation: str
  mean: float
  std: float
  detector: Settings | None = None

  def images(self, mels: np.ndarray) -> np.ndarray:
    """Makes images [n, height, width, channels] of log-Mel arrays [n, n_mels, frames], dB."""
    scaling = Scaling(np.float32(self.mean), np.float32(self.std))
    return np.asarray(
      _to_image(
        np.asarray(mels),
        self.input_shape,
        scaling,
        channels=self.channels,
        normalisation=self.normalisation,
      )
    )

  def to_json(self) -> dict[str, Any]:
    """The specification as JSON values."""
    values = {**vars(self), 'features': self.features.to_json()}
    if self.detector is None:
      del values['detector']
    else:
      values['detector'] = self.detector.to_json(self.classes)
    return values

  def digest(self) -> str:
    """SHA-256 of the specification, to notice an altered constant."""
    return json_sha256(self.to_json())

  @classmethod
  def from_json(cls, values: dict[str, Any]) -> 'ModelSpec':
    """The inverse of `to_json`; other keys of `values` are ignored."""
    fields = {
      field.name: values[field.name]
      for field in dataclasses.fields(cls)
      if field.name != 'detector'
    }
    chosen = values.get('detector')
    return cls(
      **{
        **fields,
        'classes': tuple(fields['classes']),
        'input_shape': tuple(fields['input_shape']),
        'features': Features.from_json(fields['features']),
        'detector': chosen and Settings.from_json(chosen, fields['classes']),
      }
    )


class Classifier(NamedTuple):
  """A model and its specification.

  Attributes:
    of_images: maps images [n, height, width, channels] to logits [n, classes].
    output_scale: a logit per step of an int8 model; 0 if logits are floats.
  """

  spec: ModelSpec
  of_images: Callable[[np.ndarray], np.ndarray]
  output_scale: float = 0.0

  def logits(self, mels: np.ndarray) -> np.ndarray:
    """Maps log-Mel arrays [n, n_mels, frames], dB, to logits [n, classes]."""
    return np.concatenate([self.of_images(self.spec.images(block)) for block in blocks(mels)])

  def probabilities(self, mels: np.ndarray) -> np.ndarray:
    """Maps log-Mel arrays [n, n_mels, frames], dB, to probabilities [n, classes]; rows sum to 1."""
    logits = self.logits(mels).astype(np.float64)
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def load(model: str | Path, variant: str | None = None, seed: int | None = None) -> Classifier:
  """Loads the model of a study's folder, a bundle's folder (its int8 model) or a .tflite file.

  Args:
    variant, seed: choose a lane of a study (default: the one with the best validation accuracy).

  Raises:
    UserError: `model` is none of these, or the study has no such lane.
  """
  path = Path(model)
  if path.is_dir() and (path / 'model.json').exists():
    path /= 'model_int8.tflite'
  if not path.is_dir():
    if not path.exists():
      raise UserError(
        f"--model={model}: does not exist: give a study's folder, or a .tflite file of a bundle"
      )
    if path.suffix != '.tflite':
      raise UserError(f"--model={model}: give a study's folder, or a .tflite file of a bundle")
    if (variant, seed) != (None, None):
      raise UserError(
        f'--model={model}: holds one lane, so --variant and --seed choose nothing: give the '
        "study's folder"
      )
    return from_tflite(path)
  # A .tflite file needs nothing of what trains, which is slow to import and large.
  from m3net_jax.inference import best_lane, lane_classifier
  from m3net_jax.network import ops
  from m3net_jax.study import workdir

  study = workdir.read(path).finished_part()
  return lane_classifier.from_lane(
    study, best_lane.load(study, variant, seed), ops.lowering_for(jax.default_backend())
  )


def from_tflite(path: Path, runtime: str = runtimes.RUNTIMES[0]) -> Classifier:
  """The classifier of a bundle's .tflite file in one of `runtimes.RUNTIMES`.

  Raises:
    UserError: the file is absent, model.json is not beside it, or describes another file.
  """
  try:
    content = path.read_bytes()
  except OSError as error:
    raise UserError(f'{path}: {error.strerror}: give a .tflite file') from error
  spec_path = path.with_name('model.json')
  spec, hashes = _described(spec_path)
  if hashlib.sha256(content).hexdigest() != hashes.get(path.name):
    raise UserError(f'{path}: is not the file that {spec_path} describes: export the bundle again')
  model = runtimes.Model(content, runtime)
  return Classifier(spec, model.logits, model.output.scale)


def read_spec(path: Path) -> ModelSpec:
  """The specification in a bundle's model.json.

  Raises:
    UserError: the file is absent, was altered or has another format.
  """
  return _described(path)[0]


def _described(path: Path) -> tuple[ModelSpec, dict[str, str]]:
  """The specification in a bundle's model.json, and {name: SHA-256} of its models."""
  try:
    content = json.loads(path.read_bytes())
    version, sha256, hashes = (content.pop(name) for name in ('format', 'sha256', 'files'))
    if version != FORMAT:
      raise UserError(
        f'{path}: its format is {version}, this program reads {FORMAT}: export the bundle again'
      )
    # Before anything is made of it, because a wrong value may be one that nothing can be made of.
    if sha256 != json_sha256(content):
      raise UserError(
        f'{path}: was altered (its SHA-256 is not the one in it): export the bundle again'
      )
    return ModelSpec.from_json(content), dict(hashes)
  except FileNotFoundError as error:
    raise UserError(
      f'{path}: is missing; it holds the features and classes of the model beside it: copy the '
      'complete bundle that python -m m3net_jax.export wrote'
    ) from error
  except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
    raise UserError(
      f'{path}: cannot be read ({one_line(error)}): export the bundle again'
    ) from error


def blocks(mels: np.ndarray) -> Iterator[np.ndarray]:
  """Yields [n, ...] in parts of at most 64."""
  return (mels[start : start + _BLOCK] for start in range(0, len(mels), _BLOCK))


_to_image = functools.partial(
  jax.jit, static_argnames=('input_shape', 'channels', 'normalisation')
)(image.to_image)
