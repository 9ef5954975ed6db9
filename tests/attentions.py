"""What a user might put in the place of Mirror Attention, and firmware cannot run."""

import jax.numpy as jnp
from flax import linen as nn


class Cosine(nn.Module):
  """In the place of Mirror Attention, what converts to an operator that firmware does not have."""

  @nn.compact
  def __call__(self, x):
    return x * jnp.cos(x)


class Sorted(nn.Module):
  """In the place of Mirror Attention, what the converter has no operator for."""

  @nn.compact
  def __call__(self, x):
    return jnp.sort(x, axis=-1)


class HardSwish(nn.Module):
  """In the place of Mirror Attention, what firmware runs in int8, and has no 16-bit form."""

  @nn.compact
  def __call__(self, x):
    return nn.hard_swish(x)
