"""The lane engine: independent training runs as one pytree with a leading lane axis, trained by one program.

A lane is one run of one variant from one seed on one split. Everything of it is a function of its own seed and
clips: nothing here reduces over lanes. Programs scan many steps of a lane while its state is in the cache, and
map over lanes: one after another on a CPU, all at once on an accelerator; host devices share the lanes out.
Knows arrays only: no files, clocks or names.
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

Variables = dict[str, Any]  # 'params' and 'batch_stats'

RUNNING, DIVERGED = 0, 1
STEPS_PER_CALL = 16  # a call of the training program takes so many steps of every lane
CACHE_BYTES = (
  2**19
)  # of a core's cache, for the largest map of the clips that are evaluated together


class Best(NamedTuple):
  """A lane at its best validation epoch; epoch 0 is before the first."""

  variables: Variables
  accuracy: jax.Array
  epoch: jax.Array


class Lane(NamedTuple):
  """All that varies per lane; a `lanes` pytree has these leaves with a leading axis [lanes].

  Attributes:
    variables: parameters and batch statistics.
    adam: moments of Adam.
    plateau: counters and factor of the learning-rate plateau.
    switches: which mirrors and channel weights are on, for variants that share a program.
    scaling: of the training clips of its split, in dB.
    epoch: epochs finished.
    status: RUNNING, or DIVERGED once a loss was not finite.
    best: at the best validation epoch.
  """

  variables: Variables
  adam: optax.OptState
  plateau: optax.OptState
  switches: Switches
  scaling: Scaling
  epoch: jax.Array
  status: jax.Array
  best: Best


class Training(NamedTuple):
  """What all lanes of a program share (paper, Section 3.1).

  The paper gives the rate's start and floor only. Halved after three epochs without a lower validation loss, it can
  come down to that floor, thirty halvings away, within the paper's 100 epochs.
  """

  learning_rate: float = 1e-3
  min_learning_rate: float = 1e-12
  plateau_factor: float = 0.5
  plateau_patience: int = 3


class Scores(NamedTuple):
  """Per clip: the predicted class, and the cross-entropy; [lanes, steps, batch]."""

  predicted: jax.Array
  loss: jax.Array


class Programs(NamedTuple):
  """The compiled programs of lanes that share an architecture.

  Attributes:
    init_fn: (seeds [lanes], switches [lanes], scaling [lanes]) -> lanes.
    train_fn: (lanes, clips, order [lanes, steps, batch]) -> lanes, losses [lanes, steps]; lanes are donated. A step
      whose order is -1 is not taken, so that epochs of any length are calls of one length.
    eval_fn: (variables, switches, scaling [lanes], clips, order [lanes, steps, batch]) -> Scores. The
      lowering for CPUs takes the clips in blocks of few, so that their maps stay in the cache.
    finish_fn: (lanes, validation loss [lanes], validation accuracy [lanes]) -> lanes; lanes are donated.
    memory: (lanes, clips, order) -> bytes a device holds while it trains, as the compiler plans them.
    compilations: how many programs were compiled so far.
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
) -> Lane:
  """A lane before its first step: a pure function of its seed."""
  variables = dict(models.init(model, jax.random.key(seed), input_shape))
  return Lane(
    variables,
    optax.scale_by_adam().init(variables['params']),
    _plateau(training).init({}),
    switches,
    scaling,
    jnp.int32(0),
    jnp.int32(RUNNING),
    Best(variables, jnp.float32(-1.0), jnp.int32(0)),
  )


def train_step(
  model: M3Net,
  training: Training,
  to_image: Callable[[jax.Array, Scaling], jax.Array],
  lane: Lane,
  mels: jax.Array,
  labels: jax.Array,
) -> tuple[Lane, jax.Array]:
  """One Adam step on mels [batch, n_mels, frames], labels [batch]; returns the lane and the mean cross-entropy."""

  def loss_of(params: Any) -> tuple[jax.Array, Any]:
    variables = {**lane.variables, 'params': params}
    (logits, _), updated = model.apply(
      variables,
      to_image(mels, lane.scaling),
      train=True,
      switches=lane.switches,
      mutable=['batch_stats'],
    )
    return _cross_entropy(logits, labels).mean(), updated['batch_stats']

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


def finish_epoch(training: Training, lane: Lane, loss: jax.Array, accuracy: jax.Array) -> Lane:
  """Counts an epoch with its validation loss and accuracy: plateau, best parameters, status."""
  finite = jnp.isfinite(loss)
  status = jnp.where(finite, lane.status, DIVERGED)
  epoch = lane.epoch + 1
  _, plateau = _plateau(training).update({}, lane.plateau, value=jnp.where(finite, loss, jnp.inf))
  # The first of equal epochs stays the best. A diverged lane keeps what it had before.
  better = (accuracy > lane.best.accuracy) & (status == RUNNING)
  best = jax.tree.map(
    functools.partial(jnp.where, better), Best(lane.variables, accuracy, epoch), lane.best
  )
  return lane._replace(plateau=plateau, epoch=epoch, status=status, best=best)


def learning_rate(training: Training, lane: Lane) -> jax.Array:
  """The lane's present rate; of `lanes`, one each."""
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
  """Scores of one lane on mels [batch, n_mels, frames], labels [batch], with its moving statistics."""
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
  """Compiles, when first called, the programs of lanes of one architecture.

  Args:
    model: with `lowering` as fits the devices.
    lanes_at_once: lanes that a device works on together; 1 is one after another.
    mesh: devices with the one axis 'lanes'; the number of lanes is a multiple of theirs (`padded`).
  """
  to_image = lambda mels, scaling: image.to_image(
    mels, input_shape, scaling, channels=channels, normalisation=normalisation
  )

  def train(lane: Lane, clips: Clips, order: jax.Array) -> tuple[Lane, jax.Array]:

    def step(state: Lane, batch: jax.Array) -> tuple[Lane, jax.Array]:
      taken = lambda: train_step(
        model, training, to_image, state, clips.mels[batch], clips.labels[batch]
      )
      return lax.cond(batch[0] >= 0, taken, lambda: (state, jnp.float32(0.0)))

    return lax.scan(step, lane, order)

  def score(
    evaluated: tuple[Variables, Switches, Scaling], clips: Clips, order: jax.Array
  ) -> Scores:
    block_of = lambda block: eval_step(
      model, to_image, *evaluated, clips.mels[block], clips.labels[block]
    )
    size = (
      min(_clips_per_block(model, input_shape), order.size)
      if model.lowering == 'shift'
      else order.shape[1]
    )
    filled = jnp.pad(order.ravel(), (0, -order.size % size), constant_values=-1)
    scores = lax.map(block_of, filled.reshape(-1, size))
    return jax.tree.map(lambda score: score.ravel()[: order.size].reshape(order.shape), scores)

  over_lanes = functools.partial(_over_lanes, lanes_at_once=lanes_at_once, mesh=mesh)
  train_all, score_all = over_lanes(train, donate=True), over_lanes(score)
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
    finish_fn=lambda lanes, loss, accuracy: finish_all(
      lanes, put(np.asarray(loss, np.float32)), put(np.asarray(accuracy, np.float32))
    ),
    memory=lambda lanes, clips, order: _planned_bytes(
      train_all.lower(lanes, clips, put(order)).compile()
    ),
    compilations=lambda: sum(program._cache_size() for program in jitted),
  )


def lane_mesh(num_lanes: int) -> Mesh:
  """The devices that share `num_lanes` out, as a mesh with the axis 'lanes'.

  Two at least where there are: XLA compiles a program for one device alone in other vector sizes, and
  a lane alone would differ from the same among others in its last bits.
  """
  devices = jax.devices()
  return Mesh(np.array(devices[: min(len(devices), max(num_lanes, 2))]), ('lanes',))


def padded(num_lanes: int, mesh: Mesh) -> int:
  """The number of lanes made, so that every device of the mesh has as many; those past `num_lanes` are thrown away."""
  return -(-num_lanes // mesh.size) * mesh.size


def _over_lanes(
  function: Callable[..., Any], *, lanes_at_once: int, mesh: Mesh, donate: bool = False
):
  """`function(lane, clips, order)` over the leading axis of lanes and order; clips are shared."""

  def mapped(lanes: Any, clips: Clips, order: jax.Array) -> Any:
    one = lambda each: function(each[0], clips, each[1])
    # Not a vmap over one lane: it would compute both sides of every conditional.
    return lax.map(one, (lanes, order), batch_size=lanes_at_once if lanes_at_once > 1 else None)

  split, whole = PartitionSpec('lanes'), PartitionSpec()
  sharded = jax.shard_map(
    mapped, mesh=mesh, in_specs=(split, whole, split), out_specs=split, check_vma=False
  )
  return jax.jit(sharded, donate_argnums=(0,) if donate else ())


def _clips_per_block(model: M3Net, input_shape: tuple[int, int, int]) -> int:
  """Clips whose stem's output, about the largest map, fits in CACHE_BYTES; at inference no clip needs others."""
  parts = model.architecture
  height, width = (-(-side // parts.stem_stride) for side in input_shape[:2])
  return max(1, CACHE_BYTES // (height * width * parts.stem_channels * 4))


def _planned_bytes(compiled: jax.stages.Compiled) -> int:
  planned = compiled.memory_analysis()
  return (
    planned.argument_size_in_bytes
    + planned.output_size_in_bytes
    - planned.alias_size_in_bytes
    + planned.temp_size_in_bytes
  )


def _plateau(training: Training) -> optax.GradientTransformationExtraArgs:
  """Updated once an epoch with the validation loss; only its factor is used."""
  return optax.contrib.reduce_on_plateau(
    factor=training.plateau_factor,
    patience=training.plateau_patience,
    rtol=0.0,
    atol=1e-4,
    min_scale=training.min_learning_rate / training.learning_rate,
  )


def _cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
  return optax.softmax_cross_entropy_with_integer_labels(logits, labels)
