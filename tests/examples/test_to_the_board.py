"""The notebook of an export: the int8 file that it writes classifies."""

import json

import pytest

from tests.examples import notebooks


def test_the_best_lane_is_exported(tmp_path):
  for package in ('tensorflow', 'ai_edge_litert', 'tflite_micro'):
    pytest.importorskip(package)
  outputs = notebooks.run('to_the_board', tmp_path)
  bundle = tmp_path / 'studies/to_the_board/bundle'
  content = json.loads((bundle / 'export.json').read_text())
  runtimes = notebooks.text(outputs['runtime-table'], 'text/markdown')
  for row in content['runtimes']:
    assert f'| {row["correct"]} of {row["clips"]} |' in runtimes
  assert content['runtimes'][-1]['accuracy'] > 0.4  # int8 in TFLite Micro; chance is 1 of 6
  size = (bundle / 'model_int8.tflite').stat().st_size
  assert f'{size:,} bytes' in notebooks.text(outputs['sizes'])
  assert "'up'" in notebooks.text(outputs['classify'])
