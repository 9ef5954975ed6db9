import os

import numpy as np
import pytest
import scipy.stats
from matplotlib import image
from matplotlib.figure import Figure

from data_prep import files, statistics, store
from data_prep.features import Features
from data_prep.prepare import prepare


def test_entropy_of_known_distributions():
  assert statistics.entropy(np.zeros(100)) == 0
  assert statistics.entropy(np.tile([-0.5, 0.5], 50)) == pytest.approx(1)
  assert statistics.entropy(np.linspace(-1, 1, 256 * 100, endpoint=False)) == pytest.approx(8)
  # Samples beyond full scale are clipped.
  assert statistics.entropy(np.array([-5.0, 5.0, -1.0, 0.999])) == pytest.approx(1)
  samples = 0.2 * np.random.default_rng(0).standard_normal(20000)
  shares = np.histogram(samples, 256, (-1, 1))[0]
  assert statistics.entropy(samples) == pytest.approx(scipy.stats.entropy(shares, base=2), abs=1e-3)


def test_crossings_of_a_tone_are_twice_its_frequency():
  times = np.arange(16000) / 16000
  for hertz in (100, 440, 3000):
    assert statistics.crossings(np.sin(2 * np.pi * hertz * times + 0.1), 16000) == pytest.approx(
      2 * hertz, abs=2
    )
  assert statistics.crossings(np.tile([0.05, -0.05], 8000), 16000) == 15999
  assert (
    statistics.crossings(np.zeros(100), 16000) == 0
    and statistics.crossings(np.zeros(0), 16000) == 0
  )


def test_summary():
  summary = statistics.summary(np.array([1.0, 2.0, 4.0]), np.array([10.0]))
  assert summary['entropy'] == pytest.approx(
    {'mean': 7 / 3, 'deviation': np.std([1, 2, 4], ddof=1), 'error': scipy.stats.sem([1, 2, 4])}
  )
  assert (
    summary['crossings'] == {'mean': 10, 'deviation': 0, 'error': 0}
    and summary['definitions']['entropy']
  )


def test_the_representative_clip_is_nearest_to_the_mean():
  mels = np.stack([np.full((2, 3), value, np.float16) for value in (-50, -40, -10, 0)])
  assert statistics.representative(mels) == 1


def test_statistics_of_a_store_and_its_figure(folder_corpus, tmp_path):
  loaded = store.load(
    prepare('folder', folder_corpus, tmp_path / 's', Features(clip_seconds=1.0, n_mels=32))
  )
  low = loaded.labels == loaded.classes.index('low')
  # Tones of 300 to 330 and 3000 to 3030 Hz with a little noise, measured before padding.
  assert np.all(np.abs(loaded.crossings[low] - 630) < 60) and np.all(
    np.abs(loaded.crossings[~low] - 6030) < 100
  )
  assert np.all((loaded.entropies > 4) & (loaded.entropies < 8))
  statistics.figure(loaded, tmp_path / 'figures' / 'corpus.png')
  pixels = image.imread(tmp_path / 'figures' / 'corpus.png')
  assert pixels.shape[0] > 300 and pixels.shape[1] > 300 and pixels.std() > 0.05
  assert [path.name for path in (tmp_path / 'figures').iterdir()] == ['corpus.png']


@pytest.mark.parametrize('suffix', ['png', 'svg', 'pdf'])
def test_a_picture_shows_a_name_that_is_not_utf_8(tmp_path, suffix):
  figure = Figure()
  figure.subplots().set(title=os.fsdecode(b'clips/\xff.wav'))
  files.write_figure(tmp_path / f'picture.{suffix}', figure)
  assert (tmp_path / f'picture.{suffix}').stat().st_size > 1000
  assert figure.axes[0].get_title() == 'clips/\\udcff.wav'
