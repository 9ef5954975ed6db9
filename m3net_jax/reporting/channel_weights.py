"""Learned weights of efficient channel attention (paper, Section 2.2) in trained lanes.

Reads checkpoints; each lane is at its best validation epoch.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from data_prep.store import Store
from m3net_jax.network import image, ops
from m3net_jax.network.models import M3Net
from m3net_jax.network.variants import Architecture, architecture_of
from m3net_jax.study import checkpoint, cohorts, results
from m3net_jax.study.splits import Split
from m3net_jax.study.workdir import Workdir

CLIPS = 64  # test clips per lane, spread evenly over its test split
_BATCH = 16


class Weights(NamedTuple):
  """Channel weights of the lanes of one variant.

  Attributes:
    mean, std: [lanes, channels], mean and standard deviation of a channel's weight over clips.
    taps: [lanes, 3], the learned kernel over neighbouring channels.
  """

  mean: np.ndarray
  std: np.ndarray
  taps: np.ndarray


def learned(workdir: Workdir, store: Store, splits: Sequence[Split]) -> dict[str, Weights]:
  """Weights of every variant with channel attention; empty if the study has no such variant.

  Raises:
    FileNotFoundError: the checkpoints are missing.
  """
  tested = results.tested(workdir.results())
  lanes_by_variant: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
  for cohort in cohorts.make(workdir.config, workdir.seed_ranges, len(splits)):
    names = [
      name
      for name in cohort.names
      if name in tested and _has_attention(architecture_of(name.variant))
    ]
    if not names:
      continue
    if not checkpoint.folder_of(workdir.path, cohort).is_dir():
      raise FileNotFoundError(f'checkpoints/{cohort.folder} is missing')
    lanes = checkpoint.restore_cohort(workdir.config, cohort, len(store.classes), workdir.path)
    weigh = _program(workdir, cohort.program, len(store.classes))
    for name in names:
      lane = jax.tree.map(lambda leaf: leaf[cohort.names.index(name)], lanes)
      clips = _spread(splits[name.split].test)
      batches = np.split(clips, range(_BATCH, len(clips), _BATCH))
      weights = np.concatenate(
        [
          weigh(lane.best.variables, lane.switches, lane.scaling, np.asarray(store.mels[batch]))
          for batch in batches
        ]
      )
      taps = lane.best.variables['params']['dfp']['eca']['kernel'][:, 0, 0]
      lanes_by_variant.setdefault(name.variant, []).append((weights.mean(0), weights.std(0), taps))
  return {
    variant: Weights(*map(np.stack, zip(*lanes))) for variant, lanes in lanes_by_variant.items()
  }


def _has_attention(architecture: Architecture) -> bool:
  return architecture.attention is None and architecture.dfp and bool(architecture.switches.eca)


def _program(workdir: Workdir, architecture: Architecture, num_classes: int) -> Callable:
  config = workdir.config
  model = M3Net(architecture, num_classes, ops.lowering_for(jax.default_backend()))

  @jax.jit
  def weigh(variables, switches, scaling, mels):
    images = image.to_image(
      mels,
      config.input_shape,
      scaling,
      channels=config.channels,
      normalisation=config.normalisation,
    )
    return model.apply(variables, images, train=False, switches=switches)[1]['eca'][:, 0, 0]

  return weigh


def _spread(clips: np.ndarray) -> np.ndarray:
  return clips[np.linspace(0, len(clips) - 1, min(CLIPS, len(clips))).astype(int)]
