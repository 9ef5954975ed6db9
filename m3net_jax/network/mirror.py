"""The mirror operations of Mirror Attention (paper, Section 2.2).

Maps are [clips, frequency, time, channels]: height is frequency, width is time. The paper's
matrices (2), (3) and (5) send w to W - w and h to H - h, which is outside the grid 0..W-1; here w
goes to W - 1 - w and h to H - 1 - h. Each operation is its own inverse.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

FREQUENCY, TIME = 1, 2


def hmf(x: jax.Array) -> jax.Array:
  """Horizontal mirror: reverses time (equation 2)."""
  return jnp.flip(x, TIME)


def vmf(x: jax.Array) -> jax.Array:
  """Vertical mirror: reverses frequency (equation 3)."""
  return jnp.flip(x, FREQUENCY)


def csf(x: jax.Array) -> jax.Array:
  """Centre-symmetric flip: reverses time and frequency, `hmf` after `vmf` (equations 5 and 6)."""
  return jnp.flip(x, (FREQUENCY, TIME))


def where(
  on: bool | jax.Array, mirror: Callable[[jax.Array], jax.Array], x: jax.Array
) -> jax.Array:
  """`mirror(x)` if `on`, otherwise `x`.

  `on` may be a traced value of a lane, so that the ablations share one program.
  """
  if isinstance(on, bool):
    return mirror(x) if on else x
  return lax.cond(on, mirror, lambda x: x, x)
