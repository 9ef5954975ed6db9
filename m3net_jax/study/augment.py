"""Augmentation of training clips on the device: a pure function of a key and a lane's recipe.

The clips are log-Mel arrays in dB, so every change is one that the features of changed samples
would show: a shift moves frames, a gain adds decibels, noise adds powers. That the powers add is
true on average; `tests.benchmarks.mixing` measures how far a clip is from mixed samples.
In this order: shift, noise, gain, the floor of the features, masks.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data_prep import mel
from data_prep.errors import UserError
from data_prep.features import Features
from m3net_jax.study.hyper import Hyper

BANDS = 2  # masked bands of filters of a clip
LARGEST_BAND = 0.15  # of the filters, for --spec_augment=1
LARGEST_STRETCH = 0.25  # of the frames, of the one masked stretch, for --spec_augment=1
_DECIBEL = float(np.log(10) / 10)  # log of the power of 1 dB


class Rule(NamedTuple):
  """What is the same for all clips and lanes of a study.

  Attributes:
    parts: what is computed (`hyper.PARTS`).
    features: of the store.
    level_weights: [n_mels], `mel.level_weights(features)`; None without 'noise' in `parts`.
  """

  parts: frozenset[str]
  features: Features
  level_weights: np.ndarray | None


def check(settings: Sequence[Hyper], features: Features) -> None:
  """Checks the shifts of a study; UserError if one is less than half a frame or leaves the clip."""
  frame = 1000 * features.hop_length / features.sample_rate
  for setting in settings:
    for name in ('shift_early_ms', 'shift_late_ms'):
      value = getattr(setting, name)
      if value and not frame / 2 < value < 1000 * features.clip_seconds:
        raise UserError(
          f'--{name}={value:g}: clips move by whole frames of {frame:g} ms within '
          f'{features.clip_seconds:g} s: give {math.ceil(frame)} or more, and less than a clip'
        )


def rule_of(parts: frozenset[str], features: Features) -> Rule | None:
  """The rule of a study; None if its lanes need no part."""
  if not parts:
    return None
  # The weights need librosa's filters, which take a second to import.
  return Rule(parts, features, mel.level_weights(features) if 'noise' in parts else None)


def augmented(
  rule: Rule, key: jax.Array, mels: jax.Array, hyper: Hyper, noise: jax.Array | None
) -> jax.Array:
  """Changes every clip of a batch by its own random numbers.

  Args:
    key: of the lane and the step.
    mels: [batch, n_mels, frames], dB.
    hyper: the recipe of the lane: scalars.
    noise: [windows, n_mels, frames] float32 powers of windows of noise, each of level 1
      (`noise_bank`); may be None if 'noise' is not in `rule.parts`.

  Returns:
    [batch, n_mels, frames] float32, dB.
  """
  if not rule.parts & {'shift', 'gain', 'noise', 'spec_augment'}:
    return mels
  x = mels.astype(jnp.float32)
  # Every part has its own keys, so that one does not change the numbers of another.
  shift_key, noise_key, gain_key, mask_key = jax.random.split(key, 4)
  if 'shift' in rule.parts:
    x = shifted(rule, x, shift_frames(rule, shift_key, len(x), hyper))
  if 'noise' in rule.parts:
    assert noise is not None and rule.level_weights is not None, 'noise needs its windows'
    x = with_noise(rule, noise_key, x, hyper, noise)
  if 'gain' in rule.parts:
    x += _uniform(gain_key, (len(x), 1, 1), hyper.gain_low_db, hyper.gain_high_db)
  if rule.parts & {'gain', 'noise'}:
    x = floored(rule, x)
  if 'spec_augment' in rule.parts:
    x = jnp.where(masks(mask_key, x.shape, hyper), x.mean((1, 2), keepdims=True), x)
  return x


def shift_frames(rule: Rule, key: jax.Array, clips: int, hyper: Hyper) -> jax.Array:
  """Whole frames [clips] by which clips move, negative for earlier; all in reach equally likely."""
  frames_per_ms = rule.features.sample_rate / rule.features.hop_length / 1000
  early, late = (
    jnp.round(ms * frames_per_ms) for ms in (hyper.shift_early_ms, hyper.shift_late_ms)
  )
  drawn = jnp.floor(jax.random.uniform(key, (clips,)) * (early + late + 1))
  return (jnp.minimum(drawn, early + late) - early).astype(jnp.int32)


def shifted(rule: Rule, x: jax.Array, frames: jax.Array) -> jax.Array:
  """Moves clips [clips, n_mels, frames] by whole frames [clips].

  The frames that become free are silent if the corpus pads short clips, and come from the other
  end if it repeats them.
  """
  length = x.shape[-1]
  source = jnp.arange(length)[None, :] - frames[:, None]
  if rule.features.fit == 'repeat':
    return jnp.take_along_axis(x, (source % length)[:, None, :], axis=2)
  moved = jnp.take_along_axis(x, jnp.clip(source, 0, length - 1)[:, None, :], axis=2)
  inside = (source >= 0) & (source < length)
  return jnp.where(inside[:, None, :], moved, _silence(rule, x))


def with_noise(
  rule: Rule, key: jax.Array, x: jax.Array, hyper: Hyper, noise: jax.Array
) -> jax.Array:
  """Adds a random window of noise to a random share of the clips, at random ratios."""
  share_key, window_key, snr_key = jax.random.split(key, 3)
  window = jax.random.randint(window_key, (len(x),), 0, len(noise))
  snr = _uniform(snr_key, (len(x), 1, 1), hyper.snr_low_db, hyper.snr_high_db)
  mixed = mixed_db(x, noise[window], snr, rule.level_weights)
  chosen = jax.random.uniform(share_key, (len(x), 1, 1)) < hyper.noise
  return jnp.where(chosen, mixed, x)


def mixed_db(
  x: jax.Array, noise: jax.Array, snr_db: jax.Array, level_weights: np.ndarray
) -> jax.Array:
  """Clips with noise [clips, n_mels, frames], dB.

  Args:
    x: clips [clips, n_mels, frames], dB.
    noise: powers [clips, n_mels, frames] of level 1.
    snr_db: level of a clip over that of its noise [clips, 1, 1], dB.
  """
  power = jnp.exp(x * _DECIBEL)
  level = (power.mean(2, keepdims=True) * level_weights[:, None]).sum(1, keepdims=True)
  return jnp.log(power + noise * (level * jnp.exp(-snr_db * _DECIBEL))) / _DECIBEL


def floored(rule: Rule, x: jax.Array) -> jax.Array:
  """Raises the lowest values of clips [clips, n_mels, frames], dB, as `mel.log_mel` does."""
  return jnp.maximum(x, _silence(rule, x))


def masks(key: jax.Array, shape: tuple[int, ...], hyper: Hyper) -> jax.Array:
  """Where clips [clips, n_mels, frames] are masked: two bands of filters, one stretch of frames.

  SpecAugment (Park et al., Interspeech 2019) without time warping. Sizes are whole numbers from 0
  to the largest one, equally likely; a mask lies within the clip.
  """
  clips, n_mels, frames = shape
  keys = jax.random.split(key, 2 * (BANDS + 1))
  masked = jnp.zeros(shape, bool)
  for i in range(BANDS + 1):
    length, largest = (n_mels, LARGEST_BAND) if i < BANDS else (frames, LARGEST_STRETCH)
    reach = jnp.minimum(jnp.round(length * largest * hyper.spec_augment), length)
    size = jnp.floor(jax.random.uniform(keys[2 * i], (clips, 1)) * (reach + 1))
    first = jnp.floor(jax.random.uniform(keys[2 * i + 1], (clips, 1)) * (length - size + 1))
    inside = (jnp.arange(length) >= first) & (jnp.arange(length) < first + size)
    masked |= inside[:, :, None] if i < BANDS else inside[:, None, :]
  return masked


def mixup_share(key: jax.Array, hyper: Hyper) -> jax.Array:
  """The share of a clip in its mixture with another one: one for a batch, from a beta distribution.

  mixup (Zhang et al., ICLR 2018); the share is 1 if alpha is 0.
  """
  alpha = jnp.maximum(hyper.mixup, 1e-3)
  return jnp.where(hyper.mixup > 0, jax.random.beta(key, alpha, alpha), 1.0)


def _uniform(key: jax.Array, shape: tuple[int, ...], low: jax.Array, high: jax.Array) -> jax.Array:
  return low + (high - low) * jax.random.uniform(key, shape)


def _silence(rule: Rule, x: jax.Array) -> jax.Array:
  """What silence gives in each clip [clips, 1, 1], dB: `mel.log_mel`'s lowest value."""
  lowest = 10.0 * (
    np.log10(rule.features.amin) - np.log10(max(rule.features.amin, rule.features.ref))
  )
  return jnp.maximum(x.max((1, 2), keepdims=True) - rule.features.range_db, np.float32(lowest))
