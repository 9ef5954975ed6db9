"""The classifier of a trained lane, in JAX."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from m3net_jax.inference.best_lane import TrainedLane
from m3net_jax.inference.classifier import Classifier, ModelSpec
from m3net_jax.network import models
from m3net_jax.network.variants import Architecture, architecture_of
from m3net_jax.study.workdir import Workdir


def from_lane(study: Workdir, lane: TrainedLane, lowering: str) -> Classifier:
  """The classifier of a lane in JAX; `lowering` is one of `options.LOWERINGS`."""
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
    lane.detector,
  )
  architecture = architecture_of(lane.name.variant)
  logits = _network(architecture, len(spec.classes), lowering)
  return Classifier(spec, lambda images: np.asarray(logits(lane.variables, images)))


@functools.lru_cache(maxsize=16)
def _network(architecture: Architecture, num_classes: int, lowering: str) -> Callable:
  """A compiled function of variables and images, shared by lanes."""
  model = models.M3Net(architecture, num_classes, lowering)

  @jax.jit
  def logits(variables: dict[str, Any], images: jax.Array) -> jax.Array:
    return model.apply(variables, images, train=False, switches=architecture.switches)[0]

  return logits
