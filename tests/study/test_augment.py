"""Augmentation against its definitions: what moves, by how much, how often, and what does not."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from scipy import stats

from data_prep import background, mel
from data_prep.features import PRESETS, Features
from m3net_jax.study import augment, noise_bank
from m3net_jax.study.augment import Rule
from m3net_jax.study.hyper import PARTS, Hyper

FEATURES = Features(n_mels=64, hop_length=160)  # frames of 10 ms
FRAMES, CLIPS = FEATURES.frames, 4000
RULE = Rule(frozenset(PARTS), FEATURES, mel.level_weights(FEATURES))
KEY = jax.random.key(7)
SMALL = np.random.default_rng(0).uniform(-60, 0, (CLIPS, 8, 10)).astype(np.float32)


def rule(*parts, **features):
  changed = dataclasses.replace(FEATURES, **features)
  return Rule(frozenset(parts), changed, np.full(8, 0.5, np.float32))


def assert_uniform(values, low, high):
  """The values are spread evenly over the whole numbers from `low` to `high`."""
  counts = np.bincount(np.asarray(values) - low, minlength=high - low + 1)
  assert len(counts) == high - low + 1
  assert stats.chisquare(counts).pvalue > 1e-4


def test_shifts_are_whole_frames_all_equally_likely():
  hyper = Hyper(shift_early_ms=40.0, shift_late_ms=131.0)
  frames = augment.shift_frames(RULE, KEY, CLIPS, hyper)
  assert_uniform(frames, -4, 13)


@pytest.mark.parametrize('moved', [-3, 0, 4])
def test_a_shift_moves_frames_and_leaves_silence_or_the_other_end(moved):
  clip = SMALL[:1]
  padded = np.asarray(augment.shifted(rule(fit='pad'), clip, np.array([moved])))
  repeated = np.asarray(augment.shifted(rule(fit='repeat'), clip, np.array([moved])))
  np.testing.assert_array_equal(repeated, np.roll(clip, moved, 2))
  expected = np.roll(clip, moved, 2)
  free = slice(10 + moved, 10) if moved < 0 else slice(0, moved)
  expected[:, :, free] = clip.max() - 80
  np.testing.assert_allclose(padded, expected, rtol=1e-6)


def test_the_silence_of_a_shift_is_that_of_samples():
  """A tone with zeros before and after it: moved frames are those of moved samples."""
  samples = np.zeros(FEATURES.num_samples, np.float32)
  samples[4800:8000] = np.sin(np.arange(3200) / 3).astype(np.float32)
  moved = np.roll(samples, 160 * 20)
  expected = mel.log_mel(moved, FEATURES)
  got = augment.shifted(RULE, mel.log_mel(samples, FEATURES)[None], np.array([20]))[0]
  np.testing.assert_allclose(got, expected, atol=1e-3)


def test_gains_are_spread_over_their_range_and_add_decibels():
  hyper = Hyper(gain_low_db=-25.0, gain_high_db=6.0)
  changed = augment.augmented(rule('gain'), KEY, SMALL, hyper, None)
  added = np.asarray(changed - SMALL)
  np.testing.assert_allclose(added, added[:, :1, :1] + np.zeros_like(added), atol=1e-4)
  assert stats.kstest(added[:, 0, 0], stats.uniform(-25, 31).cdf).pvalue > 1e-4
  quieter = mel.log_mel(0.1 * speech(), FEATURES)
  got = augment.augmented(
    rule('gain'), KEY, mel.log_mel(speech(), FEATURES)[None], Hyper(gain_low_db=-20.0), None
  )[0]
  level = float((got - mel.log_mel(speech(), FEATURES)).mean())
  np.testing.assert_allclose(got - level, quieter + 20, atol=2e-3)


def test_noise_has_its_share_and_its_ratios():
  hyper = Hyper(noise=0.6, snr_low_db=-5.0, snr_high_db=25.0)
  noise = np.random.default_rng(1).uniform(0.5, 1.5, (50, 8, 10)).astype(np.float32)
  noise /= noise.mean(2).sum(1)[:, None, None] * 0.5
  mixed = np.asarray(augment.with_noise(rule('noise'), KEY, SMALL, hyper, noise), np.float64)
  chosen = (mixed != SMALL).any((1, 2))
  assert stats.binomtest(int(chosen.sum()), CLIPS, 0.6).pvalue > 1e-4
  power = lambda db: 10 ** (np.asarray(db, np.float64) / 10)
  level = lambda power: power.mean(2).sum(1) * 0.5
  added = (power(mixed) - power(SMALL))[chosen]
  ratios = 10 * np.log10(level(power(SMALL))[chosen] / level(added))
  assert stats.kstest(ratios, stats.uniform(-5, 30).cdf).pvalue > 1e-4
  # What was added is one of the windows, each as often as another.
  shapes = added / level(added)[:, None, None]
  which = [int(np.abs(noise - shape).mean((1, 2)).argmin()) for shape in shapes[:2000]]
  assert max(np.abs(noise[i] - shape).mean() for i, shape in zip(which, shapes)) < 0.02
  assert stats.chisquare(np.bincount(which, minlength=50)).pvalue > 1e-4


def test_masks_have_their_sizes_and_lie_in_the_clip():
  n_mels, frames, strength = 40, 100, 0.5
  shape, hyper = (CLIPS, n_mels, frames), Hyper(spec_augment=strength)
  masked = np.asarray(augment.masks(KEY, shape, hyper))
  rows, columns = masked.all(2), masked.all(1)
  np.testing.assert_array_equal(masked, rows[:, :, None] | columns[:, None, :])
  # One stretch of up to 12 frames (a quarter of half of 100, rounded), anywhere.
  stretches = columns.sum(1)
  assert_uniform(stretches, 0, 12)
  edges = np.diff(np.pad(columns, ((0, 0), (1, 1))).astype(int), axis=1)
  assert ((edges == 1).sum(1) <= 1).all() and columns[:, 0].any() and columns[:, -1].any()
  # Two bands of up to 3 filters, which may overlap.
  bands = rows.sum(1)
  assert bands.max() == 6 and 0 < (bands == 0).mean() < 0.13
  assert 2.6 < bands.mean() <= 3.0
  assert not augment.masks(KEY, shape, Hyper()).any()


def test_masked_values_are_the_mean_of_the_clip():
  clips = SMALL[:50]
  changed = np.asarray(
    augment.augmented(rule('spec_augment'), KEY, clips, Hyper(spec_augment=2.0), None)
  )
  for before, after in zip(clips, changed):
    differ = before != after
    np.testing.assert_allclose(after[differ], before.mean(), rtol=1e-5)
  assert (clips != changed).any()


def test_shares_of_mixup_have_the_beta_distribution():
  keys = jax.random.split(KEY, CLIPS)
  draw = lambda alpha: np.asarray(
    jax.vmap(lambda key: augment.mixup_share(key, Hyper(mixup=alpha)))(keys)
  )
  assert stats.kstest(draw(0.4), stats.beta(0.4, 0.4).cdf).pvalue > 1e-4
  np.testing.assert_array_equal(draw(0.0), np.ones(CLIPS))


def test_a_recipe_of_zeros_changes_nothing():
  noise = np.ones((3, 8, 10), np.float32)
  changed = augment.augmented(
    RULE._replace(level_weights=np.ones(8)), KEY, SMALL[:20], Hyper(), noise
  )
  np.testing.assert_array_equal(changed, SMALL[:20])


def test_one_part_does_not_change_the_numbers_of_another():
  hyper = Hyper(shift_late_ms=50.0, spec_augment=1.0, gain_low_db=-20.0)
  both = rule('shift', 'spec_augment')
  alone = augment.augmented(rule('shift'), KEY, SMALL, hyper, None)
  with_masks = augment.augmented(both, KEY, SMALL, hyper, None)
  untouched = np.asarray(alone == with_masks).all(1)  # frames that no band crosses
  assert np.asarray(alone == with_masks).mean() > 0.6 and untouched.any()


def test_weights_of_filters_give_the_ratio_of_samples():
  """Noise of two colours, both 10 dB below a tone: equal in samples, nearly equal by filters."""
  weights = mel.level_weights(FEATURES)
  assert (weights >= 0).all()

  def level_db(samples):
    power = 10 ** (mel.log_mel(samples.astype(np.float32), FEATURES) / 10)
    return 10 * np.log10(weights @ power.mean(1))

  length = FEATURES.num_samples
  tone = np.sin(np.arange(length) * 2 * np.pi * 700 / 16000)
  for noise in background.coloured(FEATURES, ('white', 'pink'), 1.0):
    other = noise.samples * background.level(tone) / background.level(noise.samples) * 10**-0.5
    difference = level_db(tone) - level_db(other)
    limit = {'white': 0.3, 'pink': 1.6}[noise.name]  # a part of pink is below the lowest filter
    assert difference == pytest.approx(10.0, abs=limit), noise.name


@functools.cache
def speech():
  """Two seconds' worth of changing harmonics with pauses, one second long, -1..1."""
  time = np.arange(FEATURES.num_samples) / 16000
  pitch = 120 + 40 * np.sin(2 * np.pi * 2 * time)
  phase = 2 * np.pi * np.cumsum(pitch) / 16000
  tones = sum(np.sin(n * phase) / n for n in range(1, 20))
  return (0.2 * tones * (np.sin(2 * np.pi * 3 * time) > -0.3)).astype(np.float32)


@pytest.mark.parametrize(('snr', 'limit'), [(20.0, 0.9), (0.0, 1.9)])
def test_mixed_powers_are_nearly_those_of_mixed_samples(snr, limit):
  """On average; a single value is off by the product of both spectra, which is not known."""
  clip, rng = speech(), np.random.default_rng(3)
  noise = rng.standard_normal(len(clip)).astype(np.float32)
  expected = mel.log_mel(background.mixed(clip, noise, snr), FEATURES)
  bank = noise_bank.make([background.Noise('white', noise, '')], FEATURES)
  mixed = augment.mixed_db(
    mel.log_mel(clip, FEATURES)[None], bank.powers[:1], np.float32(snr), RULE.level_weights
  )
  got = np.asarray(augment.floored(RULE, mixed))[0]
  assert np.abs(got - expected).mean() < limit
  assert abs((got - expected).mean()) < 0.5


STREAM = Features(**PRESETS['stream'])
STREAM_RULE = Rule(frozenset(PARTS), STREAM, mel.level_weights(STREAM))


def test_a_quiet_copy_keeps_the_absolute_floor():
  """Gain on decibels is gain on samples, and both end at the floor of all clips."""
  clip = speech()
  quiet = mel.log_mel(np.float32(0.01) * clip, STREAM)
  x = mel.log_mel(clip, STREAM)[None] - 40.0
  np.testing.assert_allclose(augment.floored(STREAM_RULE, x)[0], quiet, atol=2e-2)
  assert quiet.min() == pytest.approx(-80.0, abs=1e-4)
  moved = augment.shifted(STREAM_RULE, x, np.array([5]))
  np.testing.assert_allclose(moved[0, :, :5], -80.0)


def test_quiet_noise_is_kept_for_clips_of_any_level():
  """Windows of noise are stored without the floor of the features."""
  noise = (1e-4 * np.random.default_rng(0).standard_normal(16000)).astype(np.float32)
  quiet = noise_bank.make([background.Noise('quiet', noise, '')], STREAM)
  loud = noise_bank.make([background.Noise('loud', np.float32(1e3) * noise, '')], STREAM)
  np.testing.assert_allclose(quiet.powers, loud.powers, rtol=0.02)
