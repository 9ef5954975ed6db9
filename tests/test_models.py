"""The networks in models/: they load, answer, and are those of their cards."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

import m3net_jax as m3
from m3net_jax.reporting.formats import markdown

pytest.importorskip('ai_edge_litert')
MODELS = sorted(path for path in (Path(__file__).parents[1] / 'models').iterdir() if path.is_dir())


@pytest.mark.parametrize('folder', MODELS, ids=lambda folder: folder.name)
def test_a_model_answers_and_has_a_card(folder):
  model = m3.load_model(folder)
  silence = m3.classify(model, np.zeros(model.spec.features.num_samples, np.float32))
  card = (folder / 'MODEL_CARD.md').read_text()
  assert f'the int8 file says: digital silence: {markdown(silence.top(1)[0][0])} (' in card
  size = (folder / 'model_int8.tflite').stat().st_size
  assert f'| int8 file | {size:,} bytes |' in card and size < 2**16
  assert '## Noise, level and time' in card
  listed = (folder.parent / 'README.md').read_text()
  row = next(line for line in listed.splitlines() if f'| `{folder.name}` |' in line)
  licence = re.search(r'Training recordings: .*, (CC BY(?:-SA)? \d\.\d)', card)[1]
  assert licence in row


@pytest.mark.skipif('M3NET_REAL_DATA' not in os.environ, reason='needs the real recordings')
@pytest.mark.parametrize(
  'name, corpus, label, at_least',
  [
    ('digits', 'fsdd/recordings/*_*.wav', lambda path: path.name[0], 0.95),
    ('commands', 'speech_commands_test12/*/*_*.wav', lambda path: path.parent.name, 0.88),
    ('commands_stream', 'speech_commands_test12/*/*_*.wav', lambda path: path.parent.name, 0.88),
    ('sounds', 'esc10/*/*.ogg', lambda path: path.parent.name.partition(' - ')[2], 0.85),
  ],
)
def test_recordings_of_its_corpus_are_recognised(name, corpus, label, at_least):
  """Of every speaker or word; three fifths of them were trained on."""
  paths = sorted(Path(os.environ['M3NET_REAL_DATA']).glob(corpus))
  paths = paths[:: len(paths) // 75]
  model = m3.load_model(MODELS[[path.name for path in MODELS].index(name)])
  right = [m3.classify(model, path).top(1)[0][0] == label(path) for path in paths]
  assert len(paths) >= 75 and np.mean(right) > at_least
