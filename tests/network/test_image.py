"""Input images against librosa, matplotlib and numpy."""

import jax
import librosa
import matplotlib
import numpy as np
import pytest

from m3net_jax.network import image, options
from m3net_jax.network.image import Scaling

MELS = np.random.default_rng(0).uniform(-80, 0, (3, 16, 20)).astype(np.float16)
SCALING = Scaling(np.float32(-40.0), np.float32(20.0))


def to_image(shape, mels=MELS, channels='magma', normalisation='train'):
  return np.asarray(
    image.to_image(mels, shape, SCALING, channels=channels, normalisation=normalisation)
  )


def test_one_channel_is_the_log_mel_scaled_by_the_training_clips():
  np.testing.assert_allclose(
    to_image((16, 20, 1))[..., 0], (MELS.astype(np.float32) + 40) / 20, rtol=1e-5
  )


def test_one_channel_scaled_by_each_clip():
  x = to_image((16, 20, 1), normalisation='clip')[..., 0]
  np.testing.assert_allclose(x.mean((1, 2)), 0, atol=1e-5)
  np.testing.assert_allclose(x.std((1, 2)), 1, rtol=1e-4)


def test_magma_is_matplotlibs():
  x = MELS.astype(np.float32)
  low, high = x.min((1, 2), keepdims=True), x.max((1, 2), keepdims=True)
  expected = matplotlib.colormaps['magma']((x - low) / (high - low))[..., :3]
  # A value between two colours may be rounded to either.
  different = np.abs(to_image((16, 20, 3)) - expected).max(-1) > 1e-6
  assert different.mean() < 0.005


def test_deltas_are_librosas():
  scaled = (MELS.astype(np.float32) + 40) / 20
  planes = to_image((16, 20, 3), channels='delta')
  for order in (1, 2):
    expected = librosa.feature.delta(scaled, order=order, mode='nearest', axis=-1)
    np.testing.assert_allclose(planes[..., order], expected, rtol=1e-3, atol=1e-4)


def test_resizing_keeps_a_ramp_and_the_orientation():
  ramp = np.broadcast_to(np.arange(16, dtype=np.float16)[None, :, None], (1, 16, 20))
  x = to_image((32, 40, 1), mels=ramp)[0, :, :, 0] * 20 - 40
  assert x.shape == (32, 40)
  np.testing.assert_allclose(x[4:-4, 7], np.arange(4, 28) / 2 - 0.25, atol=1e-4)


@pytest.mark.parametrize(
  'shape, channels', [((8, 8, 1), 'magma'), ((8, 8, 3), 'magma'), ((8, 8, 3), 'delta')]
)
@pytest.mark.parametrize('normalisation', options.NORMALISATIONS)
def test_silence_stays_finite(shape, channels, normalisation):
  silent = np.full((1, 16, 20), -100, np.float16)
  assert np.isfinite(to_image(shape, silent, channels, normalisation)).all()


def test_scaling_is_the_mean_and_deviation_of_the_chosen_clips():
  mels = np.random.default_rng(1).normal(-30, 12, (2500, 4, 5)).astype(np.float16)
  clips = np.arange(0, 2500, 2)
  scaling = image.scaling_of(mels, clips)
  np.testing.assert_allclose(scaling.mean, mels[clips].astype(np.float64).mean(), rtol=1e-6)
  np.testing.assert_allclose(scaling.std, mels[clips].astype(np.float64).std(), rtol=1e-6)


def test_runs_inside_a_jitted_step():
  compiled = jax.jit(
    lambda mels: image.to_image(mels, (8, 8, 3), SCALING, channels='magma', normalisation='train')
  )
  np.testing.assert_allclose(compiled(MELS), to_image((8, 8, 3)), atol=0.02)
