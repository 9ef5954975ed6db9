"""Which folders and files are models, and which are refused."""

import json

import pytest

from data_prep.errors import UserError
from m3net_jax.inference import best_lane, classifier


def test_what_is_not_a_model_is_refused(trained, tmp_path):
  (tmp_path / 'model_int8.tflite').write_bytes(b'TFL3')
  for path, message in (
    (tmp_path / 'nothing', 'does not exist'),
    (tmp_path, 'no config.json'),
    (trained.path / 'config.json', "give a study's folder"),
    (tmp_path / 'model_int8.tflite', 'model.json: is missing'),
  ):
    with pytest.raises(UserError, match=message):
      classifier.load(str(path))
  for asked, message in (
    ({'seed': 7}, '--seed=7: the study in .* has 0, 1'),
    ({'variant': 'no_ma'}, '--variant=no_ma'),
  ):
    with pytest.raises(UserError, match=message):
      best_lane.load(trained, **asked)


def test_a_spec_survives_json(model):
  assert classifier.ModelSpec.from_json(json.loads(json.dumps(model.spec.to_json()))) == model.spec
