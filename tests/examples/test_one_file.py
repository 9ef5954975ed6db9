"""examples/one_file.py: at most 100 lines, without this package; it finds the planted effect."""

import subprocess
import sys

import numpy as np

from tests.examples.notebooks import EXAMPLES

PATH = EXAMPLES / 'one_file.py'


def test_it_is_short_and_stands_alone():
  text = PATH.read_text()
  assert len(text.splitlines()) <= 100 and max(map(len, text.splitlines())) <= 100
  assert 'm3net_jax' not in text.split('"""')[2]


def test_its_table_is_that_of_14_seeds(tmp_path):
  ended = subprocess.run(
    [sys.executable, PATH], cwd=tmp_path, capture_output=True, text=True, check=False
  )
  assert ended.returncode == 0, ended.stderr
  _, *lines, mean, std, last = ended.stdout.splitlines()
  rows = np.array([[float(cell) for cell in line.split()[1:]] for line in lines])
  assert rows.shape == (14, 2)
  for line, expected in ((mean, rows.mean(0)), (std, rows.std(0, ddof=1))):
    np.testing.assert_allclose([float(cell) for cell in line.split()[1:]], expected, atol=1e-3)
  # The task is made for mirrors: they help by far.
  assert rows[:, 0].mean() > rows[:, 1].mean() + 0.2
  assert 1e-4 < float(last.split()[-1]) < 0.002  # the smallest of 14 pairs is 0.00012
  assert not list(tmp_path.iterdir())
