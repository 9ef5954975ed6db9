"""A trained model from log-Mel arrays to class probabilities: a lane of a study, or a .tflite file with its model.json.

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
from data_prep.files import json_sha256
from m3net_jax.inference import best_lane, runtimes
from m3net_jax.inference.best_lane import TrainedLane
from m3net_jax.network import image, models, ops
from m3net_jax.network.image import Scaling
from m3net_jax.network.variants import architecture_of
from m3net_jax.study import workdir
from m3net_jax.study.workdir import Workdir

FORMAT = 2
_BLOCK = 64  # clips made into images together


@dataclasses.dataclass(frozen=True)
class ModelSpec:
  """What turns a recording into a model's input, and its output into a class; model.json of a bundle.

  Attributes:
    name: the lane, for people.
    features: of the clips.
    input_shape, channels, normalisation: as in `image.to_image`.
    mean, std: of the training clips, dB.
  """

  name: str
  classes: tuple[str, ...]
  features: Features
  input_shape: tuple[int, int, int]
  channels: str
  normalisation: str
  mean: float
  std: float

  def images(self, mels: np.ndarray) -> np.ndarray:
    """Log-Mel arrays [n, n_mels, frames] dB to the model's input [n, height, width, channels] float32."""
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
    return {**vars(self), 'features': self.features.to_json()}

  def digest(self) -> str:
    """SHA-256 of all of it: an altered constant is noticed."""
    return json_sha256(self.to_json())

  @classmethod
  def from_json(cls, values: dict[str, Any]) -> 'ModelSpec':
    made = {field.name: values[field.name] for field in dataclasses.fields(cls)}
    return cls(
      **{
        **made,
        'classes': tuple(made['classes']),
        'input_shape': tuple(made['input_shape']),
        'features': Features.from_json(made['features']),
      }
    )


class Classifier(NamedTuple):
  """A model with what it needs around it; `of_images` is [n, height, width, channels] to logits [n, classes]."""

  spec: ModelSpec
  of_images: Callable[[np.ndarray], np.ndarray]

  def logits(self, mels: np.ndarray) -> np.ndarray:
    """Log-Mel arrays [n, n_mels, frames] dB to logits [n, classes]."""
    return np.concatenate([self.of_images(self.spec.images(block)) for block in blocks(mels)])

  def probabilities(self, mels: np.ndarray) -> np.ndarray:
    """Log-Mel arrays [n, n_mels, frames] dB to probabilities [n, classes] that sum to 1."""
    logits = self.logits(mels).astype(np.float64)
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def load(model: str | Path, variant: str | None = None, seed: int | None = None) -> Classifier:
  """The classifier of a study's folder, a bundle's folder (its int8 model) or a bundle's .tflite file.

  Args:
    variant, seed: choose a lane of a study; the default is the best by validation.

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
        f"--model={model}: holds one lane, and --variant or --seed asks for one: give the study's "
        'folder'
      )
    return from_tflite(path)
  study = workdir.read(path)
  return from_lane(
    study, best_lane.load(study, variant, seed), ops.lowering_for(jax.default_backend())
  )


def from_lane(study: Workdir, lane: TrainedLane, lowering: str) -> Classifier:
  """A lane of a study in JAX, its convolutions in one of `options.LOWERINGS`."""
  corpus, config = study.results()['corpus'], study.config
  name = f'{lane.name.variant}, seed {lane.name.seed}, {lane.row["split"]} split, {corpus["name"]}'
  spec = ModelSpec(
    name,
    tuple(corpus['classes']),
    study.features,
    config.input_shape,
    config.channels,
    config.normalisation,
    *lane.scaling,
  )
  architecture = architecture_of(lane.name.variant)
  model = models.M3Net(architecture, len(spec.classes), lowering)
  apply = jax.jit(
    lambda images: model.apply(lane.variables, images, train=False, switches=architecture.switches)[
      0
    ]
  )
  return Classifier(spec, lambda images: np.asarray(apply(images)))


def from_tflite(path: Path, runtime: str = runtimes.RUNTIMES[0]) -> Classifier:
  """A .tflite file of a bundle, in one of `runtimes.RUNTIMES`; model.json must lie beside it.

  Raises:
    UserError: absent, not of a bundle, or not the file that the bundle was made with.
  """
  try:
    content = path.read_bytes()
  except OSError as error:
    raise UserError(f'{path}: {error.strerror}: give a .tflite file') from error
  described = path.with_name('model.json')
  spec, digest = read_spec(described), json.loads(described.read_text())['files'].get(path.name)
  if hashlib.sha256(content).hexdigest() != digest:
    raise UserError(f'{path}: is not the file that {described} describes: export the bundle again')
  return Classifier(spec, runtimes.Model(content, runtime).logits)


def read_spec(path: Path) -> ModelSpec:
  """The specification in a bundle's model.json; UserError where it is absent or of another make."""
  try:
    there = json.loads(path.read_text())
    if there['format'] != FORMAT:
      raise UserError(
        f'{path}: its format is {there["format"]}, this program reads {FORMAT}: export the bundle again'
      )
    spec = ModelSpec.from_json(there)
    if there['sha256'] != spec.digest():
      raise UserError(
        f'{path}: was altered (its SHA-256 is not the one in it): export the bundle again'
      )
    return spec
  except FileNotFoundError as error:
    raise UserError(
      f'{path}: is missing, and it says the features and classes of the model beside it: take the whole '
      'bundle that python -m m3net_jax.export wrote'
    ) from error
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise UserError(f'{path}: cannot be read ({error}): export the bundle again') from error


def blocks(mels: np.ndarray) -> Iterator[np.ndarray]:
  """[n, ...] in parts of at most 64."""
  return (mels[start : start + _BLOCK] for start in range(0, len(mels), _BLOCK))


_to_image = functools.partial(
  jax.jit, static_argnames=('input_shape', 'channels', 'normalisation')
)(image.to_image)
