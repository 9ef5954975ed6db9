"""Modules of a user in place of Mirror Attention that firmware cannot run."""

import jax.numpy as jnp
from flax import linen as nn


class Cosine(nn.Module):
  """Converts to an operator that firmware lacks."""

  @nn.compact
  def __call__(self, x):
    return x * jnp.cos(x)


class SumOfMirrors(nn.Module):
  """The converter of TensorFlow 2.21 gives its int8 form a wrong scale."""

  @nn.compact
  def __call__(self, x):
    return x + jnp.flip(x, 1)


class Sorted(nn.Module):
  """Has no operator in the converter."""

  @nn.compact
  def __call__(self, x):
    return jnp.sort(x, axis=-1)


class HardSwish(nn.Module):
  """Runs on firmware in int8, but has no 16-bit form."""

  @nn.compact
  def __call__(self, x):
    return nn.hard_swish(x)
