"""Clips in memory become one store, whoever prepares them."""

import os
import threading

import numpy as np

from data_prep import arrays, files
from data_prep.features import Features

FEATURES = Features(sample_rate=8000, clip_seconds=0.25, n_fft=256, hop_length=128, n_mels=16)
CLIPS = [np.sin(np.arange(2000) * (1 + number)) for number in range(6)]
LABELS = ['a', 'b'] * 3


def prepare(folder):
  return arrays.prepare(CLIPS, LABELS, 8000, FEATURES, store_dir=folder)


def test_two_programs_make_a_store_once(tmp_path, capsys):
  """The second waits for the lock of the first, then reads what is there."""
  path = prepare(tmp_path / 'first').path
  second = tmp_path / 'second' / path.name
  loaded = []
  with files.locked(second, files.lock_beside(second)):
    thread = threading.Thread(target=lambda: loaded.append(prepare(tmp_path / 'second')))
    thread.start()
    thread.join(1.0)
    assert thread.is_alive() and not second.exists()
    assert f'is in use by process {os.getpid()} on ' in capsys.readouterr().err
    path.rename(second)
    written = (second / 'manifest.json').stat().st_mtime_ns
  thread.join(30)
  assert loaded[0].path == second and len(loaded[0].labels) == 6
  assert (second / 'manifest.json').stat().st_mtime_ns == written
