"""Runs the programs of one cohort on the clips of its splits, for the trainer and the plan.

Works on the store, the splits and the devices; no files, no clocks, no progress.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from data_prep.store import Store
from m3net_jax.network import image
from m3net_jax.network.models import M3Net
from m3net_jax.network.variants import Switches, architecture_of
from m3net_jax.stats import measures
from m3net_jax.study import augment, devices, hyper, lanes, mapping
from m3net_jax.study.cohorts import Cohort
from m3net_jax.study.config import Config
from m3net_jax.study.ingredients import NONE, Ingredients
from m3net_jax.study.input_pipeline import (
  Block,
  Feeder,
  batch_size,
  in_batches,
  order_of,
  steps_per_epoch,
)
from m3net_jax.study.lanes import Lane, Training
from m3net_jax.study.splits import Split


class Runner:
  """Runs one cohort's programs.

  Attributes:
    cohort: the lanes.
    names: names of the lanes on the devices: those of the cohort, then repetitions of the first
      ones, which only fill the devices.
    training: the rule of training.
    programs: programs of the cohort, compiled on first use.
    steps: training steps per epoch, the same for every lane.
    batch_size: clips per step of a lane.
    call_steps: training steps per call of `programs.train_fn`.
    num_devices: devices that share the lanes.
    lanes_at_once: lanes that a device works on together.

  Args:
    lanes_at_once: at most, in place of what the settings say.
  """

  def __init__(
    self,
    config: Config,
    store: Store,
    splits: list[Split],
    cohort: Cohort,
    ingredients: Ingredients = NONE,
    lanes_at_once: int | None = None,
  ):
    config = devices.unmeasured(config)
    self._config, self._store, self._splits = config, store, splits
    self.cohort = cohort
    self.batch_size = batch_size(splits, config)
    devices_per_lane = devices.devices_per_lane(config, len(cohort.names), self.batch_size)
    mesh = mapping.make_mesh(len(cohort.names), devices_per_lane)
    num_lanes = mapping.padded(len(cohort.names), mesh)
    self.names = [cohort.names[i % len(cohort.names)] for i in range(num_lanes)]
    self.steps = steps_per_epoch(splits, config)
    self.training = Training(
      config.min_learning_rate,
      config.plateau_factor,
      config.plateau_patience,
      config.plateau_tolerance,
      config.schedule,
      self.steps,
      self.steps * config.num_epochs,
      augment.rule_of(config.parts, store.features),
    )
    at_once = lanes_at_once or config.lanes_at_once or num_lanes
    self._mesh = mesh
    self.num_devices = mesh.size
    self.lanes_at_once = min(at_once, num_lanes // mapping.lane_devices(mesh))
    model = M3Net(cohort.program, len(store.classes), config.lowering, config.precision)
    self.programs = lanes.make_programs(
      model,
      config.input_shape,
      self.training,
      channels=config.channels,
      normalisation=config.normalisation,
      lanes_at_once=self.lanes_at_once,
      mesh=mesh,
    )
    self._feeder = Feeder(
      store,
      functools.partial(mapping.place_clips, mesh=mesh),
      None if ingredients.noise is None else ingredients.noise.powers,
      None if ingredients.teacher is None else ingredients.teacher.logits,
      resident_bytes=devices.resident_bytes(config),
      hosts=jax.process_count(),
      host=jax.process_index(),
    )
    self.call_steps = self._feeder.steps_per_block(
      num_lanes, self.batch_size, min(self.steps, lanes.STEPS_PER_CALL)
    )

  def initial(self) -> Lane:
    """Makes all lanes before their first step."""
    scaling = [image.scaling_of(self._store.mels, split.train) for split in self._splits]
    switches = [architecture_of(name.variant).switches for name in self.names]
    weights = [self.class_weights(split) for split in range(len(self._splits))]
    settings = self._config.settings
    return self.programs.init_fn(
      np.array([name.seed for name in self.names], np.int32),
      Switches(*map(np.array, zip(*switches))),
      image.Scaling(*map(np.array, zip(*(scaling[name.split] for name in self.names)))),
      None if weights[0] is None else np.stack([weights[name.split] for name in self.names]),
      hyper.stack([settings[name.setting] for name in self.names]),
      np.array([name.split for name in self.names], np.int32),
    )

  def check_memory(self, state: Lane, block: Block) -> int:
    """Memory of each device in training, as the compiler plans it, in bytes.

    Raises:
      TooLarge: it is more than there is.
    """
    needed = self.programs.memory(state, block.clips, block.order)
    limit = devices.memory_limit(self._config, self.num_devices // jax.process_count())
    if limit is not None and needed > limit:
      raise devices.TooLarge(needed, limit)
    return needed

  def class_weights(self, split: int) -> np.ndarray | None:
    """The weights [classes] of the loss of the lanes of a split; None if all are 1."""
    if self._config.class_weights == 'none':
      return None
    labels = self._store.labels[self._splits[split].train]
    return measures.balanced_weights(labels, len(self._store.classes))

  def without_fill(self, state: Any) -> Any:
    """Drops the lanes that only fill the devices; returns numpy arrays."""
    return jax.tree.map(lambda leaf: leaf[: len(self.cohort.names)], mapping.fetch(state))

  def with_fill(self, state: Any) -> Any:
    """The inverse of `without_fill`: puts `state` on the devices."""
    num_lanes = len(self.cohort.names)
    filled = jax.tree.map(lambda leaf: leaf[np.arange(len(self.names)) % num_lanes], state)
    return mapping.place_lanes(filled, self._mesh)

  def training_blocks(self, first_step: int, num_epochs: int) -> Iterator[tuple[Block, int]]:
    """Yields the blocks from a training step to the end of training, and their numbers of steps.

    No block goes beyond the end of an epoch.

    Args:
      first_step: of all epochs, counted from 0.
    """
    first_epoch, within = divmod(first_step, self.steps)
    calls = [
      (epoch, start)
      for epoch in range(first_epoch, num_epochs)
      for start in range(within if epoch == first_epoch else 0, self.steps, self.call_steps)
    ]
    counts = [min(self.call_steps, self.steps - start) for _, start in calls]
    orders = [
      lambda epoch=epoch, start=start, count=count: self._order(epoch * self.steps + start, count)
      for (epoch, start), count in zip(calls, counts)
    ]
    return zip(self._feeder.blocks(orders), counts)

  def _order(self, first_step: int, steps: int) -> np.ndarray:
    order = np.full((len(self.names), self.call_steps, self.batch_size), -1, np.int32)
    # Lanes of several variants or settings share a seed and a split.
    order_with = functools.cache(
      lambda seed, split: order_of(
        self._splits[split].train, seed, first_step, steps, self.batch_size
      )
    )
    for row, name in zip(order, self.names):
      row[:steps] = order_with(name.seed, name.split)
    return order

  def labels(self, side: str) -> list[np.ndarray]:
    """The labels of the clips on a side ('validation' or 'test'), one array per lane."""
    return [self._store.labels[getattr(self._splits[name.split], side)] for name in self.names]

  def scores(
    self,
    state: Lane,
    variables: lanes.Variables,
    side: str,
    only: Sequence[bool] | None = None,
  ) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Scores every lane on the clips of a side ('validation' or 'test').

    Args:
      only: for each lane of the cohort, whether it is scored (default: all are). The others read no
        clip of that side.

    Returns:
      Predicted classes and float64 cross-entropies, one array [clips] per lane.
    """
    indices = [getattr(self._splits[name.split], side) for name in self.names]
    if only is not None:
      scored = np.resize(only, len(indices))
      indices = [clips if wanted else clips[:0] for clips, wanted in zip(indices, scored)]
    batches = in_batches(indices, self.batch_size)
    size = self._feeder.steps_per_block(len(indices), self.batch_size, batches.shape[1])
    orders = [
      lambda start=start: batches[:, start : start + size]
      for start in range(0, batches.shape[1], size)
    ]
    scores = [
      mapping.fetch(self.programs.eval_fn(variables, state.switches, state.scaling, *block))
      for block in self._feeder.blocks(orders)
    ]
    filled = [
      np.concatenate([getattr(score, field) for score in scores], 1).reshape(len(indices), -1)
      for field in ('predicted', 'loss')
    ]
    predicted, losses = (
      [row[: len(clips)] for row, clips in zip(rows, indices)] for rows in filled
    )
    return predicted, [loss.astype(np.float64) for loss in losses]
