"""A module of one's own with dropout: a lane's random numbers are its own, in any company."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import linen as nn

from data_prep.errors import UserError
from m3net_jax.network import models
from m3net_jax.network.models import M3Net
from m3net_jax.network.variants import architecture_of, name_of
from m3net_jax.study import cohorts, lanes, splits
from m3net_jax.study.runner import Runner
from tests import small_study


class Dropped(nn.Module):
  """Half of the map, drawn at every step, in two collections of random numbers."""

  @nn.compact
  def __call__(self, x, train):
    y = nn.Dropout(0.5, deterministic=not train)(x)
    return nn.Dropout(0.5, rng_collection='of my own', deterministic=not train)(y)


class Always(nn.Module):
  """Dropout that is never off."""

  @nn.compact
  def __call__(self, x):
    return nn.Dropout(0.5, deterministic=False)(x)


class Sized(nn.Module):
  """A module that cannot be made without arguments."""

  filters: int
  depth: int
  stride: int = 1

  def __call__(self, x):
    return x


def trained(tones, seeds):
  """Lanes of `Dropped` after three steps, and their losses [lanes, steps]."""
  config = dataclasses.replace(
    small_study.CONFIG, variants=(name_of(Dropped),), num_seeds=len(seeds), num_epochs=1
  )
  made = splits.make(tones, 'random')
  runner = Runner(config, tones, made, cohorts.make(config, [seeds], 1)[0])
  block, _ = next(runner.training_blocks(0, 1))
  state, losses = runner.programs.train_fn(runner.initial(), block.clips, block.order)
  return runner.without_fill((state, losses[:, :3]))


def test_dropout_of_a_lane_is_that_of_its_seed_and_step(tones):
  several, losses = trained(tones, range(3))
  again, same_losses = trained(tones, range(2, 3))
  lane = lambda tree, i: jax.tree.map(lambda leaf: leaf[i], tree)
  jax.tree.map(np.testing.assert_array_equal, lane(several, 2), lane(again, 0))
  np.testing.assert_array_equal(losses[2], same_losses[0])
  assert len(np.unique(losses)) == losses.size


def test_dropout_changes_from_step_to_step_and_is_off_at_inference():
  model = M3Net(architecture_of(name_of(Dropped)), 3, 'conv')
  keys = lambda seed, step: lanes.random_keys(model, jax.numpy.int32(seed), jax.numpy.int32(step))
  image = np.random.default_rng(0).normal(size=(4, 16, 16, 1)).astype(np.float32)
  variables = model.init(jax.random.key(0), image, train=False)
  trained_map = jax.jit(
    lambda seed, step: model.apply(
      variables, image, train=True, mutable=['batch_stats'], rngs=keys(seed, step)
    )[0][1]['ma']
  )
  maps = [trained_map(seed, step) for seed in (0, 1) for step in (0, 1)]
  kept = [np.asarray(map_) != 0 for map_ in maps]
  full = np.asarray(model.apply(variables, image, train=False)[1]['ma']) != 0
  for i, one in enumerate(kept):
    assert 0.15 < one.sum() / full.sum() < 0.35  # a quarter passes both
    assert not any(np.array_equal(one, other) for other in kept[:i])


@pytest.mark.parametrize(
  'module, reason',
  [
    (Always, 'Always draws random numbers .* deterministic=not train'),
    (Sized, 'needs filters, depth, .* such as filters = '),
  ],
)
def test_a_module_that_cannot_be_used_is_told_how(module, reason):
  with pytest.raises(UserError, match=reason):
    models.init(M3Net(architecture_of(name_of(module)), 3, 'conv'), jax.random.key(0), (16, 16, 1))
