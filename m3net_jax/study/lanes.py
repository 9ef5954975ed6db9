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
from jax.sharding import Mesh

from m3net_jax.network import image, models
from m3net_jax.network.image import Scaling
from m3net_jax.network.models import M3Net
from m3net_jax.network.variants import Switches
from m3net_jax.study import augment, mapping
from m3net_jax.study.augment import Rule
from m3net_jax.study.hyper import PAPER, Hyper
from m3net_jax.study.input_pipeline import Clips

Variables = dict[str, Any]  # 'params' and 'batch_stats'

RUNNING = 0
TEMPERATURE = 2.0  # divides the logits of teacher and lane (Hinton et al. 2015, Section 2)
_MODULE_KEYS = 2  # the first two keys of a step are those of augmentation and mixup
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
    hyper: the numbers of its recipe.
    seed: of its random numbers.
    split: position of its split, which chooses its teacher.
    step: number of training steps, those that a diverged lane skips included.
    average: moving average of `variables`, or None if the study uses none.
    epoch: number of epochs finished.
    status: RUNNING, or the training step, counted from 1, at which the lane diverged: its loss,
      parameters or validation loss were not finite. It stays as it was before that step.
    best: the lane at its best validation epoch.
  """

  variables: Variables
  adam: optax.OptState
  plateau: optax.OptState
  switches: Switches
  scaling: Scaling
  class_weights: jax.Array | None
  hyper: Hyper
  seed: jax.Array
  split: jax.Array
  step: jax.Array
  average: Variables | None
  epoch: jax.Array
  status: jax.Array
  best: Best


class Training(NamedTuple):
  """The rule of training, shared by all lanes of a program (paper, Section 3.1).

  The paper gives only the first learning rate and the lowest one. If the rate is halved after three
  epochs without a lower validation loss, its thirty halvings to the lowest fit in the paper's 100
  epochs.

  Attributes:
    schedule: 'plateau', or 'cosine': from the first rate to 0 in `total_steps`.
    steps_per_epoch, total_steps: training steps of a lane.
    rule: of augmentation and of the other `hyper.PARTS`; None if the study uses none.
  """

  min_learning_rate: float = 1e-12
  plateau_factor: float = 0.5
  plateau_patience: int = 3
  plateau_tolerance: float = 1e-4  # a loss is lower if it is lower by this
  schedule: str = 'plateau'
  steps_per_epoch: int = 1
  total_steps: int = 1
  rule: Rule | None = None

  def uses(self, part: str) -> bool:
    """Whether a lane of the study needs one of `hyper.PARTS`."""
    return self.rule is not None and part in self.rule.parts


class Scores(NamedTuple):
  """The predicted class and the cross-entropy of every clip, [lanes, steps, batch]."""

  predicted: jax.Array
  loss: jax.Array


class Programs(NamedTuple):
  """The compiled programs of lanes that share an architecture.

  Attributes:
    init_fn: (seeds [lanes], switches [lanes], scaling [lanes], class weights [lanes, classes] or
      None, hyper [lanes], splits [lanes]) -> lanes.
    train_fn: (lanes, clips, order [lanes, steps, batch]) -> lanes, losses [lanes, steps]; lanes are
      donated. A step whose order is -1 is skipped, so that all calls have the same length.
    eval_fn: (variables, switches, scaling [lanes], clips, order [lanes, steps, batch]) -> Scores.
    finish_fn: (lanes, validation loss [lanes], validation score [lanes]) -> lanes; lanes are
      donated.
    memory: (lanes, clips, order) -> memory per device in training, as the compiler plans it, bytes.
    train_text: (lanes, clips, order) -> the compiled program of training, as XLA writes it.
    compilations: () -> number of programs compiled so far.
  """

  init_fn: Callable[..., Lane]
  train_fn: Callable[..., tuple[Lane, jax.Array]]
  eval_fn: Callable[..., Scores]
  finish_fn: Callable[..., Lane]
  memory: Callable[..., int]
  train_text: Callable[..., str]
  compilations: Callable[[], int]


def init_lane(
  model: M3Net,
  input_shape: tuple[int, int, int],
  training: Training,
  seed: jax.Array,
  switches: Switches,
  scaling: Scaling,
  class_weights: jax.Array | None = None,
  hyper: Hyper = PAPER,
  split: jax.Array | int = 0,
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
    jax.tree.map(jnp.float32, hyper),
    jnp.int32(seed),
    jnp.int32(split),
    jnp.int32(0),
    variables if training.uses('ema') else None,
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
  noise: jax.Array | None = None,
  taught: jax.Array | None = None,
) -> tuple[Lane, jax.Array]:
  """Takes one Adam step, on augmented clips if the study asks for it.

  Args:
    to_image: (mels, scaling) -> input of the network.
    mels: [batch, n_mels, frames] in dB.
    labels: [batch].
    noise: windows of noise for `augment.augmented`.
    taught: [batch, classes], the teacher's logits.

  Returns:
    The lane, and the mean loss before the step, weighted by the lane's class weights.
  """
  share: jax.Array | None = None
  if training.rule is not None:
    keys = jax.random.split(jax.random.fold_in(jax.random.key(lane.seed), lane.step))
    mels = augment.augmented(training.rule, keys[0], mels, lane.hyper, noise)
    if training.uses('mixup'):
      share = augment.mixup_share(keys[1], lane.hyper)
  images = to_image(mels, lane.scaling)
  if share is not None:
    images = share * images + (1 - share) * images[::-1]

  def loss_of(params: Any) -> tuple[jax.Array, Any]:
    variables = {**lane.variables, 'params': params}
    (logits, _), updated = model.apply(
      variables,
      images,
      train=True,
      switches=lane.switches,
      mutable=['batch_stats'],
      rngs=random_keys(model, lane.seed, lane.step),
    )
    return _losses(training, lane, logits, labels, taught, share).mean(), updated['batch_stats']

  (loss, batch_stats), gradient = jax.value_and_grad(loss_of, has_aux=True)(
    lane.variables['params']
  )
  updates, adam = optax.scale_by_adam().update(gradient, lane.adam)
  rate = learning_rate(training, lane)
  params = jax.tree.map(
    lambda value, update: value - rate * (update + _decay(lane, value)),
    lane.variables['params'],
    updates,
  )
  variables = {'params': params, 'batch_stats': batch_stats}
  average = None
  if lane.average is not None:
    # Early parameters are forgotten faster, as in TensorFlow's ExponentialMovingAverage.
    kept = jnp.minimum(lane.hyper.ema, (1 + lane.step) / (10 + lane.step))
    average = jax.tree.map(lambda old, new: kept * old + (1 - kept) * new, lane.average, variables)
  trained = lane._replace(variables=variables, adam=adam, step=lane.step + 1, average=average)
  frozen = lane._replace(status=lane.step + 1, step=lane.step + 1)
  good = functools.reduce(
    jnp.logical_and,
    [jnp.isfinite(value).all() for value in jax.tree.leaves(variables)],
    jnp.isfinite(loss),
  )
  return jax.tree.map(functools.partial(jnp.where, good), trained, frozen), loss


def random_keys(model: M3Net, seed: jax.Array, step: jax.Array) -> dict[str, jax.Array] | None:
  """The random keys of a training step of a user's module, for dropout; None for our networks.

  They depend on the lane's seed and step alone. For a collection of another name, Flax takes
  'params'.
  """
  if model.architecture.attention is None and model.architecture.network is None:
    return None
  key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), step), _MODULE_KEYS)
  dropout, others = jax.random.split(key)
  return {'dropout': dropout, 'params': others}


def evaluated(lane: Lane) -> Variables:
  """The variables that are evaluated: the moving average if there is one; for all lanes too."""
  return lane.variables if lane.average is None else lane.average


def finish_epoch(training: Training, lane: Lane, loss: jax.Array, score: jax.Array) -> Lane:
  """Ends an epoch of a lane: updates plateau, best and status by validation loss and score."""
  finite = jnp.isfinite(loss)
  status = jnp.where(finite | (lane.status != RUNNING), lane.status, lane.step)
  epoch = lane.epoch + 1
  _, updated = _plateau(training).update({}, lane.plateau, value=jnp.where(finite, loss, jnp.inf))
  plateau = jax.tree.map(functools.partial(jnp.where, status == RUNNING), updated, lane.plateau)
  # The first of equal epochs stays the best. A diverged lane keeps its earlier best.
  better = (score > lane.best.score) & (status == RUNNING)
  best = jax.tree.map(
    functools.partial(jnp.where, better), Best(evaluated(lane), score, epoch), lane.best
  )
  return lane._replace(plateau=plateau, epoch=epoch, status=status, best=best)


def learning_rate(training: Training, lane: Lane) -> jax.Array:
  """The learning rate of a lane's next step; for all lanes, [lanes]."""
  warm_steps = lane.hyper.warmup_epochs * training.steps_per_epoch
  rate = lane.hyper.learning_rate * jnp.minimum((lane.step + 1) / jnp.maximum(warm_steps, 1.0), 1.0)
  if training.schedule == 'cosine':
    left = jnp.maximum(training.total_steps - warm_steps, 1.0)
    done = jnp.clip((lane.step - warm_steps) / left, 0.0, 1.0)
    rate *= 0.5 * (1 + jnp.cos(jnp.pi * done))
  else:
    rate *= lane.plateau.scale
  return jnp.maximum(rate, training.min_learning_rate)


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
    mesh: of `mapping.make_mesh`; the number of lanes is `mapping.padded`.
  """
  to_image = lambda mels, scaling: mapping.share_batch(
    image.to_image(mels, input_shape, scaling, channels=channels, normalisation=normalisation), mesh
  )

  @_in_precision(model.precision)
  def train(lane: Lane, clips: Clips, order: jax.Array) -> tuple[Lane, jax.Array]:

    def step(state: Lane, batch: jax.Array) -> tuple[Lane, jax.Array]:
      train_on_batch = lambda: train_step(
        model,
        training,
        to_image,
        state,
        clips.mels[batch],
        clips.labels[batch],
        clips.noise,
        None if clips.teacher is None else clips.teacher[batch, state.split],
      )
      given = batch[0] >= 0
      # A diverged lane counts its steps; its loss stays unknown.
      skipped = state._replace(step=state.step + given)
      loss = jnp.where(state.status == RUNNING, jnp.float32(0.0), jnp.nan)
      return lax.cond(given & (state.status == RUNNING), train_on_batch, lambda: (skipped, loss))

    return lax.scan(step, lane, order)

  @_in_precision(model.precision)
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

  compile_all = functools.partial(mapping.over_lanes, lanes_at_once=lanes_at_once, mesh=mesh)
  train_all, score_all = compile_all(train, donate=True), compile_all(score)
  init_all = jax.jit(
    jax.vmap(functools.partial(init_lane, model, input_shape, training)),
    # It runs once. On a CPU, optimising it took as long as optimising the program of training.
    compiler_options={'xla_backend_optimization_level': 0}
    if jax.default_backend() == 'cpu'
    else {},
  )
  finish_all = jax.jit(jax.vmap(functools.partial(finish_epoch, training)), donate_argnums=0)
  put = functools.partial(mapping.place_lanes, mesh=mesh)
  compiled = lambda lanes, clips, order: train_all.lower(lanes, clips, put(order)).compile()
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
    memory=lambda lanes, clips, order: mapping.planned_bytes(compiled(lanes, clips, order)),
    train_text=lambda lanes, clips, order: compiled(lanes, clips, order).as_text(),
    compilations=lambda: sum(program._cache_size() for program in jitted),
  )


def _in_precision(precision: str) -> Callable[[Any], Any]:
  """Lets a function multiply matrices in one of `options.PRECISIONS`.

  An accelerator would round float32 factors to TF32 or bfloat16 of its own accord.
  """
  return jax.default_matmul_precision('tensorfloat32' if precision == 'tf32' else 'highest')


def _clips_per_block(model: M3Net, input_shape: tuple[int, int, int]) -> int:
  """Number of clips whose stem output, approximately the largest map, fits in CACHE_BYTES."""
  parts = model.architecture
  height, width = (-(-side // parts.stem_stride) for side in input_shape[:2])
  return max(1, CACHE_BYTES // (height * width * parts.stem_channels * 4))


def _plateau(training: Training) -> optax.GradientTransformationExtraArgs:
  """The plateau rule: updated once per epoch with the validation loss; only its factor is used.

  `learning_rate` keeps the lowest rate.
  """
  return optax.contrib.reduce_on_plateau(
    factor=training.plateau_factor,
    patience=training.plateau_patience,
    rtol=0.0,
    atol=training.plateau_tolerance,
  )


def _losses(
  training: Training,
  lane: Lane,
  logits: jax.Array,
  labels: jax.Array,
  taught: jax.Array | None,
  share: jax.Array | None,
) -> jax.Array:
  """The loss of every clip of a training batch, [batch].

  Args:
    share: of each clip in its mixture with the clip at the other end of the batch.
  """

  def against(labels: jax.Array) -> jax.Array:
    losses = _cross_entropy(logits, labels)
    if training.uses('label_smoothing'):
      smoothing = lane.hyper.label_smoothing
      losses = (1 - smoothing) * losses - smoothing * jax.nn.log_softmax(logits).mean(-1)
    return losses if lane.class_weights is None else losses * lane.class_weights[labels]

  mixed = lambda of_clips, of_others: (
    of_clips if share is None else share * of_clips + (1 - share) * of_others
  )
  losses = against(labels) if share is None else mixed(against(labels), against(labels[::-1]))
  if training.uses('teacher'):
    assert taught is not None, 'a study with a teacher has its logits'
    answers = jax.nn.softmax(taught / TEMPERATURE)
    divergence = optax.kl_divergence(
      jax.nn.log_softmax(logits / TEMPERATURE), mixed(answers, answers[::-1])
    )
    weight = lane.hyper.teacher_weight
    losses = (1 - weight) * losses + weight * TEMPERATURE**2 * divergence
  return losses


def _decay(lane: Lane, value: jax.Array) -> jax.Array:
  """Decoupled weight decay, of kernels alone: biases and scales of batch norm are vectors."""
  return lane.hyper.weight_decay * value if value.ndim > 1 else jnp.zeros_like(value)


def _cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
  return optax.softmax_cross_entropy_with_integer_labels(logits, labels)
