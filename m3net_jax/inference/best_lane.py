"""The lane of a finished study that is exported or classifies: the best in validation."""

from typing import Any, NamedTuple

import jax

from data_prep.errors import UserError
from m3net_jax.inference.detector import Settings
from m3net_jax.network.image import Scaling
from m3net_jax.study import checkpoint, results
from m3net_jax.study.cohorts import LaneName
from m3net_jax.study.workdir import Workdir, read_detection


class TrainedLane(NamedTuple):
  """A trained lane.

  Attributes:
    name: variant, seed and the position of its split.
    row: its row in results.json.
    variables: parameters and batch statistics at its best validation epoch.
    scaling: statistics of its training clips, dB.
    candidates: number of lanes among which it is the best in validation; 1 if it was named.
    detector: its constants, if they were chosen (detection.json).
  """

  name: LaneName
  row: dict[str, Any]
  variables: dict[str, Any]
  scaling: Scaling
  candidates: int
  detector: Settings | None = None


def load(workdir: Workdir, variant: str | None = None, seed: int | None = None) -> TrainedLane:
  """Restores the finished lane that is best in validation; of equal ones the first.

  Best in what the study's best epochs are best in (`Config.select`), the accuracy by default.

  Args:
    variant, seed: consider only the lanes of this variant or seed.

  Raises:
    UserError: the study is not finished or has no such lane.
  """
  content = workdir.results()
  # Seeds may have been added since the study was read.
  seeds = workdir.config.seeds
  lanes = {name: row for name, row in results.tested(content).items() if name.seed in seeds}
  for flag, value, values in (
    ('variant', variant, [name.variant for name in lanes]),
    ('seed', seed, [name.seed for name in lanes]),
  ):
    if value is not None and value not in values:
      choices = ', '.join(map(str, dict.fromkeys(values)))
      raise UserError(f'--{flag}={value}: the study in {workdir.path} has {choices}')
  candidates = [
    (name, row)
    for name, row in lanes.items()
    if row['status'] == 'finished' and variant in (None, name.variant) and seed in (None, name.seed)
  ]
  if not candidates:
    raise UserError(
      f'{workdir.path}: every such lane diverged: give another --seed or --variant, or train again '
      'with a lower --learning_rate'
    )
  select = workdir.config.select
  sign = -1 if select == 'loss' else 1
  name, row = max(candidates, key=lambda candidate: sign * candidate[1][f'validation_{select}'])
  jax.devices()  # if there is none as JAX_PLATFORMS wants, the checkpoint would seem to be damaged
  lane = checkpoint.restore_lane(
    workdir.config,
    workdir.seed_ranges,
    content['corpus']['num_classes'],
    len(content['corpus']['splits']),
    workdir.path,
    name,
  )
  return TrainedLane(
    name,
    row,
    lane.best.variables,
    Scaling(*map(float, lane.scaling)),
    len(candidates),
    _detector(workdir, name, content['corpus']['classes']),
  )


def _detector(workdir: Workdir, name: LaneName, classes: list[str]) -> Settings | None:
  content = read_detection(workdir.path)
  for lane in content['lanes'] if content else ():
    if (lane['variant'], lane['seed']) == (name.variant, name.seed):
      return Settings.from_json(lane['settings'], classes)
  return None
