"""The notebook of a study of your folder, run from first to last cell."""

import re

from tests.examples import notebooks


def test_a_folder_becomes_a_study(tmp_path):
  outputs = notebooks.run('your_folder', tmp_path)
  assert '32, 32)' in notebooks.text(outputs['prepare'])
  assert '| **full** |' in notebooks.text(outputs['table'], 'text/markdown')
  lanes = notebooks.text(outputs['lanes']).splitlines()
  tested = [float(re.search(r'test ([\d.]+)%', line)[1]) for line in lanes]
  assert len(tested) == 3 and min(tested) > 40  # six classes: chance is 17
  for figure in ('accuracy', 'curves'):
    assert notebooks.text(outputs[figure], 'image/png')
  assert "'left'" in notebooks.text(outputs['classify'])
  assert 'new voice: ' in notebooks.text(outputs['newcomer'])
  assert (tmp_path / 'studies/your_folder/study/report.html').exists()


def test_nothing_of_a_run_is_stored():
  for name in ('your_folder', 'your_attention', 'to_the_board'):
    for cell in notebooks.source(name).cells:
      if cell.cell_type == 'code':
        assert not cell.outputs and cell.execution_count is None, name
