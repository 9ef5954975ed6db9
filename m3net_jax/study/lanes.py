"""The lane engine: independent training runs as one pytree with a leading axis of lanes.

A lane is one training run of one variant from one seed on one split. Its result depends only on its
own seed and clips: nothing reduces over lanes. One program trains all lanes. It scans many steps of
a lane while the state of that lane is in the cache, and maps over lanes: one after another on a
CPU, all at once on an accelerator. The module works on arrays only: no files, clocks or names.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from m3net_jax.network import image, models
from m3net_jax.network.image import Scaling
from m3net_jax.network.models import M3Net
from m3net_jax.network.variants import Switches
from m3net_jax.study.input_pipeline import Clips
from m3net_jax.study.mapping import over_lanes, planned_bytes

Variables = dict[str, Any]  # 'params' and 'batch_stats'

RUNNING, DIVERGED = 0, 1
STEPS_PER_CALL = 16  # training steps of every lane per call of the training program
# Part of a core's cache, for the largest map of the clips that are evaluated together.
CACHE_BYTES = 2**19


class Best(NamedTuple):
  """A lane at its best validation epoch; epoch 0 is the lane before training.

  `score` is what the epoch is best in, the highest is the best (`Config.select`).
  """

  variables: Variables
  score: jax.Array
  epoch: jax.Array


class Lane(NamedTuple):
  """The state of one lane; the state of all lanes has the same leaves with a leading axis [lanes].

  Attributes:
    variables: parameters and batch statistics.
    adam: moments of Adam.
    plateau: counters and factor of the learning-rate plateau.
    switches: which mirrors and channel weights are on, for variants that share a program.
    scaling: mean and deviation of the training clips of its split, in dB.
    class_weights: [classes] of its training loss, or None if all are 1.
    epoch: number of epochs finished.
    status: RUNNING, or DIVERGED once a loss was not finite.
    best: the lane at its best validation epoch.
  """

  variables: Variables
  adam: optax.OptState
  plateau: optax.OptState
  switches: Switches
  scaling: Scaling
  class_weights: jax.Array | None
  epoch: jax.Array
  status: jax.Array
  best: Best


class Training(NamedTuple):
  """The rule of the learning rate, shared by all lanes of a program (paper, Section 3.1).

  The paper gives only the first rate and the lowest one. If the rate is halved after three epochs
  without a lower validation loss, its thirty halvings to the lowest fit in the paper's 100 epochs.
  """

  learning_rate: float = 1e-3
  min_learning_rate: float = 1e-12
  plateau_factor: float = 0.5
  plateau_patience: int = 3
  plateau_tolerance: float = 1e-4  # a loss is lower if it is lower by this


class Scores(NamedTuple):
  """The predicted class and the cross-entropy of every clip, [lanes, steps, batch]."""

  predicted: jax.Array
  loss: jax.Array


class Programs(NamedTuple):
  """The compiled programs of lanes that share an architecture.

  Attributes:
    init_fn: (seeds [lanes], switches [lanes], scaling [lanes], class weights [lanes, classes] or
      None) -> lanes.
    train_fn: (lanes, clips, order [lanes, steps, batch]) -> lanes, losses [lanes, steps]; lanes are
      donated. A step whose order is -1 is skipped, so that all calls have the same length.
    eval_fn: (variables, switches, scaling [lanes], clips, order [lanes, steps, batch]) -> Scores.
    finish_fn: (lanes, validation loss [lanes], validation score [lanes]) -> lanes; lanes are
      donated.
    memory: (lanes, clips, order) -> memory per device in training, as the compiler plans it, bytes.
    compilations: () -> number of programs compiled so far.
  """

  init_fn: Callable[..., Lane]
  train_fn: Callable[..., tuple[Lane, jax.Array]]
  eval_fn: Callable[..., Scores]
  finish_fn: Callable[..., Lane]
  memory: Callable[..., int]
  compilations: Callable[[], int]


def init_lane(
  model: M3Net,
  input_shape: tuple[int, int, int],
  training: Training,
  seed: jax.Array,
  switches: Switches,
  scaling: Scaling,
  class_weights: jax.Array | None = None,
) -> Lane:
  """Makes a lane before its first step: a pure function of its seed."""
  variables = dict(models.init(model, jax.random.key(seed), input_shape))
  return Lane(
    variables,
    optax.scale_by_adam().init(variables['params']),
    _plateau(training).init({}),
    switches,
    scaling,
    class_weights,
    jnp.int32(0),
    jnp.int32(RUNNING),
    Best(variables, jnp.float32(-jnp.inf), jnp.int32(0)),
  )


def train_step(
  model: M3Net,
  training: Training,
  to_image: Callable[[jax.Array, Scaling], jax.Array],
  lane: Lane,
  mels: jax.Array,
  labels: jax.Array,
) -> tuple[Lane, jax.Array]:
  """Takes one Adam step.

  Args:
    to_image: (mels, scaling) -> input of the network.
    mels: [batch, n_mels, frames] in dB.
    labels: [batch].

  Returns:
    The lane, and the mean cross-entropy before the step, weighted by the lane's class weights.
  """

  def loss_of(params: Any) -> tuple[jax.Array, Any]:
    variables = {**lane.variables, 'params': params}
    (logits, _), updated = model.apply(
      variables,
      to_image(mels, lane.scaling),
      train=True,
      switches=lane.switches,
      mutable=['batch_stats'],
    )
    losses = _cross_entropy(logits, labels)
    if lane.class_weights is not None:
      losses *= lane.class_weights[labels]
    return losses.mean(), updated['batch_stats']

  (loss, batch_stats), gradient = jax.value_and_grad(loss_of, has_aux=True)(
    lane.variables['params']
  )
  updates, adam = optax.scale_by_adam().update(gradient, lane.adam)
  rate = learning_rate(training, lane)
  params = jax.tree.map(
    lambda value, update: value - rate * update, lane.variables['params'], updates
  )
  status = jnp.where(jnp.isfinite(loss), lane.status, DIVERGED)
  return lane._replace(
    variables={'params': params, 'batch_stats': batch_stats}, adam=adam, status=status
  ), loss


def finish_epoch(training: Training, lane: Lane, loss: jax.Array, score: jax.Array) -> Lane:
  """Ends an epoch of a lane: updates plateau, best and status by validation loss and score."""
  finite = jnp.isfinite(loss)
  status = jnp.where(finite, lane.status, DIVERGED)
  epoch = lane.epoch + 1
  _, plateau = _plateau(training).update({}, lane.plateau, value=jnp.where(finite, loss, jnp.inf))
  # The first of equal epochs stays the best. A diverged lane keeps its earlier best.
  better = (score > lane.best.score) & (status == RUNNING)
  best = jax.tree.map(
    functools.partial(jnp.where, better), Best(lane.variables, score, epoch), lane.best
  )
  return lane._replace(plateau=plateau, epoch=epoch, status=status, best=best)


def learning_rate(training: Training, lane: Lane) -> jax.Array:
  """The present learning rate of a lane; for all lanes, [lanes]."""
  return jnp.maximum(training.learning_rate * lane.plateau.scale, training.min_learning_rate)


def eval_step(
  model: M3Net,
  to_image: Callable[[jax.Array, Scaling], jax.Array],
  variables: Variables,
  switches: Switches,
  scaling: Scaling,
  mels: jax.Array,
  labels: jax.Array,
) -> Scores:
  """Scores one lane on mels [batch, n_mels, frames], labels [batch], with moving statistics."""
  logits, _ = model.apply(variables, to_image(mels, scaling), train=False, switches=switches)
  return Scores(logits.argmax(-1).astype(jnp.int32), _cross_entropy(logits, labels))


def make_programs(
  model: M3Net,
  input_shape: tuple[int, int, int],
  training: Training,
  *,
  channels: str,
  normalisation: str,
  lanes_at_once: int,
  mesh: Mesh,
) -> Programs:
  """Makes the programs of the lanes of one architecture; each is compiled at its first call.

  Args:
    model: the network, with the `lowering` that fits the devices.
    lanes_at_once: lanes that a device works on together; 1 means one after another.
    mesh: devices with the single axis 'lanes'; the number of lanes is a multiple of their number
      (`mapping.padded`).
  """
  to_image = lambda mels, scaling: image.to_image(
    mels, input_shape, scaling, channels=channels, normalisation=normalisation
  )

  def train(lane: Lane, clips: Clips, order: jax.Array) -> tuple[Lane, jax.Array]:

    def step(state: Lane, batch: jax.Array) -> tuple[Lane, jax.Array]:
      train_on_batch = lambda: train_step(
        model, training, to_image, state, clips.mels[batch], clips.labels[batch]
      )
      return lax.cond(batch[0] >= 0, train_on_batch, lambda: (state, jnp.float32(0.0)))

    return lax.scan(step, lane, order)

  def score(
    evaluated: tuple[Variables, Switches, Scaling], clips: Clips, order: jax.Array
  ) -> Scores:
    block_of = lambda block: eval_step(
      model, to_image, *evaluated, clips.mels[block], clips.labels[block]
    )
    # Clips are independent at inference: on a CPU, in blocks whose maps stay in the cache.
    size = (
      min(_clips_per_block(model, input_shape), order.size)
      if model.lowering == 'shift'
      else order.shape[1]
    )
    filled = jnp.pad(order.ravel(), (0, -order.size % size), constant_values=-1)
    scores = lax.map(block_of, filled.reshape(-1, size))
    return jax.tree.map(lambda score: score.ravel()[: order.size].reshape(order.shape), scores)

  compile_all = functools.partial(over_lanes, lanes_at_once=lanes_at_once, mesh=mesh)
  train_all, score_all = compile_all(train, donate=True), compile_all(score)
  sharding = NamedSharding(mesh, PartitionSpec('lanes'))
  init_all = jax.jit(jax.vmap(functools.partial(init_lane, model, input_shape, training)))
  finish_all = jax.jit(jax.vmap(functools.partial(finish_epoch, training)), donate_argnums=0)
  put = lambda tree: jax.device_put(tree, sharding)
  jitted = (init_all, train_all, score_all, finish_all)
  return Programs(
    init_fn=lambda *per_lane: put(init_all(*per_lane)),
    train_fn=lambda lanes, clips, order: train_all(lanes, clips, put(order)),
    eval_fn=lambda variables, switches, scaling, clips, order: score_all(
      (variables, switches, scaling), clips, put(order)
    ),
    finish_fn=lambda lanes, loss, score: finish_all(
      lanes, put(np.asarray(loss, np.float32)), put(np.asarray(score, np.float32))
    ),
    memory=lambda lanes, clips, order: planned_bytes(
      train_all.lower(lanes, clips, put(order)).compile()
    ),
    compilations=lambda: sum(program._cache_size() for program in jitted),
  )


def _clips_per_block(model: M3Net, input_shape: tuple[int, int, int]) -> int:
  """Number of clips whose stem output, approximately the largest map, fits in CACHE_BYTES."""
  parts = model.architecture
  height, width = (-(-side // parts.stem_stride) for side in input_shape[:2])
  return max(1, CACHE_BYTES // (height * width * parts.stem_channels * 4))


def _plateau(training: Training) -> optax.GradientTransformationExtraArgs:
  """The plateau rule: updated once per epoch with the validation loss; only its factor is used."""
  return optax.contrib.reduce_on_plateau(
    factor=training.plateau_factor,
    patience=training.plateau_patience,
    rtol=0.0,
    atol=training.plateau_tolerance,
    min_scale=training.min_learning_rate / training.learning_rate,
  )


def _cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
  return optax.softmax_cross_entropy_with_integer_labels(logits, labels)
