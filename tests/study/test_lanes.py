"""The lane engine against a plain loop of Flax and optax.

A lane alone equals the same lane among others, bit for bit.
"""

import functools

import jax
import numpy as np
import optax
import pytest

from m3net_jax.network import image, models
from m3net_jax.network.image import Scaling
from m3net_jax.network.models import M3Net
from m3net_jax.network.variants import VARIANTS, Switches
from m3net_jax.study import hyper, lanes, mapping
from m3net_jax.study.hyper import Hyper
from m3net_jax.study.input_pipeline import Clips, in_batches, order_of
from m3net_jax.study.lanes import Training

SHAPE, CLASSES, BATCH, STEPS = (16, 16, 1), 4, 6, 5
TRAINING = Training(min_learning_rate=1e-6, plateau_factor=0.1, plateau_patience=2)
HYPER = Hyper(learning_rate=0.01)
rng = np.random.default_rng(0)
LABELS = rng.integers(0, CLASSES, 40).astype(np.int32)
# Each class has four raised rows, so that a few steps learn it.
MELS = (
  rng.normal(-40, 5, (40, 16, 16))
  + 25 * (np.arange(16)[None, :, None] // 4 == LABELS[:, None, None])
).astype(np.float16)
CLIPS = Clips(MELS, LABELS)
SCALING = image.scaling_of(MELS, np.arange(40))


@functools.cache
def programs(lowering='shift', lanes_at_once=1):
  """Programs shared by all tests; compiled once for each number of lanes."""
  return lanes.make_programs(
    M3Net(VARIANTS['full'], CLASSES, lowering),
    SHAPE,
    TRAINING,
    channels='magma',
    normalisation='train',
    lanes_at_once=lanes_at_once,
    mesh=mapping.make_mesh(2),
  )


def fresh(seeds, variants=None, **options):
  """Programs, fresh lanes (filled up to the number of devices) and their order of clips."""
  compiled = programs(**options)
  count = mapping.padded(len(seeds), mapping.make_mesh(len(seeds)))
  seeds = np.resize(np.array(seeds, np.int32), count)
  switches = [VARIANTS[variant].switches for variant in np.resize(variants or ['full'], count)]
  state = compiled.init_fn(
    seeds,
    Switches(*map(np.array, zip(*switches))),
    Scaling(*(np.full(count, value) for value in SCALING)),
    None,
    hyper.stack([HYPER] * count),
    np.zeros(count, np.int32),
  )
  order = np.stack([order_of(np.arange(40), int(seed), 0, STEPS, BATCH) for seed in seeds]).astype(
    np.int32
  )
  return compiled, state, order


def lane_of(tree, position):
  return jax.tree.map(lambda leaf: np.asarray(leaf)[position], tree)


def assert_identical(one, other):
  jax.tree.map(np.testing.assert_array_equal, one, other)


def test_devices_share_the_lanes():
  """conftest.py makes two host devices; a study makes one per core."""
  assert len(jax.devices()) == 2
  assert mapping.make_mesh(1).size == 2 and mapping.make_mesh(14).size == 2
  assert mapping.padded(3, mapping.make_mesh(3)) == 4


def test_a_lane_equals_a_plain_loop_of_flax_and_optax():
  """The loop has the same seed and clips, the reference lowering, and no vmap and no scan."""
  compiled, state, order = fresh([7, 8])
  state, losses = compiled.train_fn(state, CLIPS, order)
  model = M3Net(VARIANTS['full'], CLASSES, 'conv')
  variables = dict(models.init(model, jax.random.key(7), SHAPE))
  adam = optax.adam(HYPER.learning_rate)
  moments = adam.init(variables['params'])

  @jax.jit
  def step(variables, moments, images, labels):
    def loss_of(params):
      (logits, _), updated = model.apply(
        {**variables, 'params': params}, images, train=True, mutable=['batch_stats']
      )
      return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), updated

    (loss, updated), gradient = jax.value_and_grad(loss_of, has_aux=True)(variables['params'])
    updates, moments = adam.update(gradient, moments)
    return {'params': optax.apply_updates(variables['params'], updates), **updated}, moments, loss

  for i, batch in enumerate(order[0]):
    images = (MELS[batch].astype(np.float32)[..., None] - SCALING.mean) / SCALING.std
    variables, moments, loss = step(variables, moments, images, LABELS[batch])
    np.testing.assert_allclose(losses[0, i], loss, rtol=2e-3)
  # A bias before batch norm has no gradient in the engine; in the plain loop its gradient is
  # rounding error, which Adam turns into steps.
  without_bias = lambda tree: {
    name: leaf
    for name, leaf in jax.tree_util.tree_leaves_with_path(tree)
    if not (name[-1].key == 'bias' and name[-2].key not in ('bn', 'head'))
  }
  parameters = without_bias(lane_of(state.variables['params'], 0))
  for name, leaf in without_bias(variables['params']).items():
    np.testing.assert_allclose(parameters[name], leaf, atol=0.02, err_msg=str(name))
  assert abs(lane_of(state.variables['params'], 0)['stem']['bias']).max() == 0


def test_a_lane_alone_is_the_same_lane_among_four_bit_for_bit():
  compiled, state, order = fresh([0, 1, 2, 3])
  among, losses = compiled.train_fn(state, CLIPS, order)
  alone_compiled, state, order = fresh([3])
  alone, own_losses = alone_compiled.train_fn(state, CLIPS, order)
  assert_identical(lane_of(alone, 0), lane_of(among, 3))
  assert_identical(own_losses[0], losses[3])
  assert not np.array_equal(losses[2], losses[3])


def test_a_variant_among_others_is_the_variant_alone_bit_for_bit():
  compiled, state, order = fresh([1, 1, 1], ['full', 'plain', 'eca_csf'])
  among, _ = compiled.train_fn(state, CLIPS, order)
  alone_compiled, state, order = fresh([1], ['plain'])
  alone, _ = alone_compiled.train_fn(state, CLIPS, order)
  assert_identical(lane_of(alone, 0), lane_of(among, 1))
  assert not np.array_equal(
    lane_of(among, 0).variables['params']['head']['kernel'],
    lane_of(among, 1).variables['params']['head']['kernel'],
  )


def test_two_calls_equal_one_and_steps_of_minus_one_are_skipped():
  compiled, state, order = fresh([5, 6])
  expected, _ = compiled.train_fn(state, CLIPS, order)
  compiled, state, _ = fresh([5, 6])
  skipped = np.full_like(order, -1)
  first, second = skipped.copy(), skipped.copy()
  first[:, :2], second[:, : STEPS - 2] = order[:, :2], order[:, 2:]
  state, _ = compiled.train_fn(state, CLIPS, first)
  state, losses = compiled.train_fn(state, CLIPS, second)
  assert_identical(jax.tree.map(np.asarray, state), jax.tree.map(np.asarray, expected))
  assert (np.asarray(losses)[:, STEPS - 2 :] == 0).all()


@pytest.mark.parametrize(
  'options', [{'lanes_at_once': 2}, {'lanes_at_once': 4, 'lowering': 'conv'}]
)
def test_lanes_together_and_the_other_lowering_agree_to_rounding(options):
  compiled, state, order = fresh([0, 1, 2, 3])
  _, reference = compiled.train_fn(state, CLIPS, order)
  compiled, state, order = fresh([0, 1, 2, 3], **options)
  _, losses = compiled.train_fn(state, CLIPS, order)
  np.testing.assert_allclose(losses, reference, rtol=5e-3)


# 48 positions: in 7 blocks, the last one filled up, or in one block.
@pytest.mark.parametrize('clips_in_cache', [7, 64])
def test_evaluate_scores_every_clip_in_its_place(monkeypatch, clips_in_cache):
  _, state, _ = fresh([0, 1])
  monkeypatch.setattr(lanes, 'CACHE_BYTES', clips_in_cache * 8 * 8 * 32 * 4)
  assert lanes._clips_per_block(M3Net(VARIANTS['full'], CLASSES, 'shift'), SHAPE) == clips_in_cache
  compiled = programs.__wrapped__()
  order = in_batches([np.arange(40), np.arange(40)], 16)
  scores = jax.tree.map(
    np.asarray, compiled.eval_fn(state.variables, state.switches, state.scaling, CLIPS, order)
  )
  model = M3Net(VARIANTS['full'], CLASSES, 'conv')
  for lane in range(2):
    images = (MELS.astype(np.float32)[..., None] - SCALING.mean) / SCALING.std
    logits, _ = model.apply(lane_of(state.variables, lane), images)
    is_clip = order[lane] >= 0
    np.testing.assert_array_equal(scores.predicted[lane][is_clip], logits.argmax(-1))
    expected = optax.softmax_cross_entropy_with_integer_labels(logits, LABELS)
    np.testing.assert_allclose(scores.loss[lane][is_clip], expected, rtol=1e-3, atol=1e-5)


def finish(compiled, state, losses, accuracies):
  for loss, accuracy in zip(losses, accuracies):
    state = compiled.finish_fn(state, loss, accuracy)
  return state


def test_best_epoch_and_plateau_are_each_lanes_own():
  compiled, state, order = fresh([0, 1])
  first = lane_of(state.variables, 0)
  state = compiled.finish_fn(state, [1.0, 1.0], [0.5, 0.2])
  state, _ = compiled.train_fn(state, CLIPS, order)
  # Lane 0 stays at its loss for two more epochs and is not better; lane 1 improves every time.
  state = finish(compiled, state, [[1.0, 0.9], [1.0, 0.8]], [[0.5, 0.3], [0.4, 0.6]])
  assert np.asarray(state.best.epoch).tolist() == [1, 3]
  np.testing.assert_allclose(state.best.score, [0.5, 0.6])
  assert_identical(lane_of(state.best.variables, 0), first)
  assert_identical(lane_of(state.best.variables, 1), lane_of(state.variables, 1))
  np.testing.assert_allclose(lanes.learning_rate(TRAINING, state), [0.001, 0.01], rtol=1e-5)
  state = finish(compiled, state, [[1.0, 0.7]] * 20, [[0.1, 0.1]] * 20)
  np.testing.assert_allclose(
    lanes.learning_rate(TRAINING, state)[0], TRAINING.min_learning_rate, rtol=1e-4
  )


def test_a_lane_that_diverges_keeps_its_best_and_leaves_the_others_alone():
  compiled, state, order = fresh([0, 1])
  _, clean = compiled.train_fn(state, CLIPS, order)
  compiled, state, order = fresh([0, 1])
  state = compiled.finish_fn(state, [1.0, 1.0], [0.5, 0.5])
  kept = lane_of(state.best, 0)
  broken = CLIPS._replace(
    mels=np.concatenate([MELS, np.full((1, 16, 16), np.nan, np.float16)]),
    labels=np.append(LABELS, 0).astype(np.int32),
  )
  order[0, 1, 0] = 40
  state, losses = compiled.train_fn(state, broken, order)
  assert np.asarray(state.status).tolist() == [2, lanes.RUNNING]  # in its second step
  assert_identical(losses[1], clean[1])
  state = compiled.finish_fn(state, [np.nan, 0.5], [0.9, 0.9])
  assert_identical(lane_of(state.best, 0), kept)
  assert np.asarray(state.best.epoch).tolist() == [1, 2]


def test_each_program_is_compiled_once():
  compiled = lanes.make_programs(
    M3Net(VARIANTS['no_ma'], CLASSES, 'shift'),
    SHAPE,
    TRAINING,
    channels='magma',
    normalisation='train',
    lanes_at_once=1,
    mesh=mapping.make_mesh(2),
  )
  state = compiled.init_fn(
    np.arange(2, dtype=np.int32),
    Switches(*[np.array([True, True])] * 4),
    Scaling(*(np.full(2, value) for value in SCALING)),
    None,
    hyper.stack([HYPER] * 2),
    np.zeros(2, np.int32),
  )
  order = np.stack([order_of(np.arange(40), seed, 0, 2, BATCH) for seed in range(2)]).astype(
    np.int32
  )
  for _ in range(3):
    state, _ = compiled.train_fn(state, CLIPS, order)
    compiled.eval_fn(state.variables, state.switches, state.scaling, CLIPS, order)
    state = compiled.finish_fn(state, [1.0, 1.0], [0.5, 0.5])
  assert compiled.compilations() == 4


def test_training_learns():
  compiled, state, _ = fresh([0, 1])
  for epoch in range(12):
    order = np.stack(
      [order_of(np.arange(40), seed, epoch * STEPS, STEPS, BATCH) for seed in (0, 1)]
    ).astype(np.int32)
    state, losses = compiled.train_fn(state, CLIPS, order)
  assert np.asarray(losses).mean() < 0.3


def test_a_lane_before_its_first_epoch_has_no_best_one():
  _, state, _ = fresh([0, 1])
  assert np.asarray(state.best.epoch).tolist() == [0, 0]
  assert np.isneginf(state.best.score).all()
  assert np.asarray(state.epoch).tolist() == np.asarray(state.status).tolist() == [0, 0]
  assert_identical(lane_of(state.best.variables, 1), lane_of(state.variables, 1))


def test_a_step_that_begins_with_the_first_clip_is_taken():
  compiled, state, order = fresh([0, 1])
  order[:, 1, 0] = 0
  _, losses = compiled.train_fn(state, CLIPS, order)
  assert (np.asarray(losses) > 0).all()
