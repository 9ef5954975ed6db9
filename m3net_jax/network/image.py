"""Turns a store's log-Mel arrays into input images on the device (paper, Section 3.1: 256x256x3).

A store keeps small arrays; the jitted step resizes and colours them. Row 0 of an image is the
lowest frequency, column 0 is the first frame.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

FLOOR = 1e-3  # dB; keeps a silent clip, whose deviation is 0, finite
_DELTA_WIDTH = 9  # frames; librosa.feature.delta's default


class Scaling(NamedTuple):
  """Mean and standard deviation of the training clips' values in dB: scalars or one per lane."""

  mean: jax.Array | np.floating
  std: jax.Array | np.floating


def scaling_of(mels: np.ndarray, indices: np.ndarray) -> Scaling:
  """Mean and standard deviation of some clips, summed in float64.

  Args:
    mels: [clips, n_mels, frames] in dB; read in blocks of 1,024 clips.
    indices: positions of the clips in `mels`.
  """
  count = total = squares = 0.0
  for start in range(0, len(indices), 1024):
    block = mels[np.sort(indices[start : start + 1024])].astype(np.float64)
    count, total, squares = count + block.size, total + block.sum(), squares + (block * block).sum()
  mean = total / count
  std = max(np.sqrt(max(squares / count - mean * mean, 0.0)), FLOOR)
  return Scaling(np.float32(mean), np.float32(std))


def to_image(
  mels: jax.Array,
  input_shape: tuple[int, int, int],
  scaling: Scaling,
  *,
  channels: str,
  normalisation: str,
) -> jax.Array:
  """Turns log-Mel arrays into images [clips, height, width, channels] float32.

  Args:
    mels: [clips, n_mels, frames] in dB.
    input_shape: height (frequency), width (time) and the number of channels, 1 or 3.
    scaling: of the training clips; used if `normalisation` is 'train'.
    channels: the content of three channels. 'magma': each clip as a picture in [0, 1], scaled from
      its lowest to its highest value; 'delta': the log-Mel with its first and second difference in
      time.
    normalisation: scales the log-Mel to mean 0 and deviation 1 by the statistics of the training
      clips ('train') or of each clip ('clip'); not used for 'magma'.
  """
  height, width, depth = input_shape
  x = mels.astype(jnp.float32)
  if depth == 3 and channels == 'magma':
    low, high = x.min((1, 2), keepdims=True), x.max((1, 2), keepdims=True)
    return _magma(_resized((x - low) / jnp.maximum(high - low, FLOOR), height, width))
  if normalisation == 'train':
    x = (x - scaling.mean) / scaling.std
  else:
    x = (x - x.mean((1, 2), keepdims=True)) / jnp.maximum(x.std((1, 2), keepdims=True), FLOOR)
  planes = [x] if depth == 1 else [x, _delta(x, 1), _delta(x, 2)]
  return jnp.stack([_resized(plane, height, width) for plane in planes], axis=-1)


def _resized(x: jax.Array, height: int, width: int) -> jax.Array:
  return (
    x if x.shape[1:] == (height, width) else jax.image.resize(x, (len(x), height, width), 'linear')
  )


def _magma(x: jax.Array) -> jax.Array:
  """Values in [0, 1] as colours [..., 3] of matplotlib's magma, librosa's colour map."""
  return jnp.asarray(colours())[jnp.clip(x * 256, 0, 255).astype(jnp.int32)]


def colours() -> np.ndarray:
  """The 256 colours of magma from dark to bright, [256, 3] in [0, 1]."""
  from matplotlib import colormaps  # slow to import, and only needed for magma

  return colormaps['magma'](np.arange(256))[:, :3].astype(np.float32)


def delta_taps(order: int) -> np.ndarray:
  """Weights of the 9 frames around each frame, [9]: those of `librosa.feature.delta`."""
  from scipy.signal import savgol_coeffs

  return savgol_coeffs(_DELTA_WIDTH, polyorder=order, deriv=order, use='dot').astype(np.float32)


def _delta(x: jax.Array, order: int) -> jax.Array:
  """The `order`-th difference in time, as `librosa.feature.delta(mode='nearest')`."""
  taps = delta_taps(order)
  half = _DELTA_WIDTH // 2
  padded = jnp.pad(x, ((0, 0), (0, 0), (half, half)), mode='edge')
  return sum(padded[..., tap : tap + x.shape[-1]] * taps[tap] for tap in range(_DELTA_WIDTH))
