"""Windows of a long recording, and segments of windows."""

import numpy as np
import pytest

from data_prep import mel
from data_prep.features import PRESETS, Features
from m3net_jax.inference import windows
from tests.conftest import FEATURES


def starts(num_samples, hop):
  """The first samples of the windows of a recording, written out."""
  last = num_samples - FEATURES.num_samples
  if last <= FEATURES.num_samples // 10:
    return [0]
  regular = list(range(0, last + 1, hop))
  return regular if regular[-1] == last else [*regular, last]


def test_windows_cover_a_recording():
  clip = FEATURES.num_samples  # 2,000
  first = lambda count: [first for first, _ in windows.cut([np.zeros(count)], FEATURES, 1000)]
  assert first(100) == [0] and first(clip + 200) == [0]
  assert first(clip + 201) == [0, 201]
  assert first(4000) == [0, 1000, 2000]
  assert first(4500) == [0, 1000, 2000, 2500]
  samples = np.random.default_rng(0).standard_normal(4500).astype(np.float32)
  model = windows.log_mels(samples, FEATURES, [0, 2500])
  np.testing.assert_array_equal(model[1], mel.log_mel(samples[-clip:], FEATURES))
  short = windows.log_mels(samples[:500], FEATURES, [0])
  np.testing.assert_array_equal(short[0], mel.log_mel(np.pad(samples[:500], (0, 1500)), FEATURES))


def test_segments_join_windows_of_a_class():
  sure = np.eye(3)[[0, 0, 1, 1, 1, 2]] * 0.7 + 0.1
  first, none = [0, 1000, 2000, 3000, 4000, 4600], np.zeros(6, bool)
  found = windows.segments(sure, none, first, 6600, FEATURES)
  # Middles lie at 0.125, 0.25, 0.375, 0.5, 0.625 and 0.7 s.
  assert [each.label for each in found] == [0, 1, 2]
  np.testing.assert_allclose(
    [(each.start, each.end) for each in found], [(0, 0.3125), (0.3125, 0.6625), (0.6625, 0.825)]
  )
  np.testing.assert_allclose([each.probabilities for each in found], np.eye(3) * 0.7 + 0.1)
  silent = np.array([False, False, False, True, True, False])
  found = windows.segments(sure, silent, first, 6600, FEATURES)
  assert [each.is_silent for each in found] == [False, False, True, False]
  np.testing.assert_allclose([each.start for each in found], [0, 0.3125, 0.4375, 0.6625])


@pytest.mark.parametrize('hop_frames', [1, 16])
def test_frames_of_a_stream_are_computed_once(hop_frames):
  features = Features(**PRESETS['stream'])
  hop = hop_frames * features.hop_length
  samples = np.random.default_rng(0).standard_normal(40000).astype(np.float32)
  starts = list(range(0, 40000 - features.num_samples + 1, hop))
  expected = windows.log_mels(samples, features, starts)
  np.testing.assert_array_equal(windows.of_frames(samples, features, hop_frames), expected)


@pytest.mark.parametrize('size', [1, 700, 5000])
@pytest.mark.parametrize('hop', [1000, 300, 2000])
def test_windows_of_blocks_are_those_of_the_whole(size, hop):
  clip = FEATURES.num_samples
  for count in (1, 500, clip, clip + 200, clip + 201, 2 * clip, 2 * clip + 1, 9001):
    samples = np.arange(count, dtype=np.float32)
    blocks = [samples[first : first + size] for first in range(0, count, size)]
    cut = list(windows.cut(blocks, FEATURES, hop))
    assert [first for first, _ in cut] == starts(count, hop)
    for first, window in cut:
      np.testing.assert_array_equal(window, samples[first : first + clip])
