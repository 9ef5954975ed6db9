"""The notebook of your own attention: a class of the notebook against the baseline, with p."""

import re

from tests.examples import notebooks


def test_a_class_of_the_notebook_has_its_p_value(tmp_path):
  outputs = notebooks.run('your_attention', tmp_path)
  table = notebooks.text(outputs['table'], 'text/markdown')
  assert '| **full** | **8** |' in table and r'| \_\_main\_\_:MyAttention | 8 |' in table
  assert 'Wilcoxon signed-rank' in notebooks.text(outputs['tests'], 'text/markdown')
  found = re.search(r'n = 8 pairs, p = ([\d.e-]+)', notebooks.text(outputs['p-value']))
  assert 2 / 2**8 <= float(found[1]) <= 1
  assert '6 seeds: p is never below 0.031' in notebooks.text(outputs['smallest-p'])
