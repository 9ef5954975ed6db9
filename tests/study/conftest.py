"""Shared by the two files of whole small studies: their store, a finished study, their programs."""

import pytest

from m3net_jax.study import lanes
from tests import small_study
from tests.conftest import optimised
from tests.study import whole as whole_studies
from tests.study.whole import CONFIG


@pytest.fixture
def several_calls(monkeypatch):
  """An epoch takes several calls of the training program."""
  monkeypatch.setattr(lanes, 'STEPS_PER_CALL', whole_studies.STEPS_PER_CALL)


@pytest.fixture(scope='session')
def made_programs():
  return {}


@pytest.fixture
def programs_once(made_programs, monkeypatch):
  """Studies of equal programs share them: tracing and loading takes as long as a small study."""
  share(made_programs, monkeypatch)


def share(made_programs, patch):
  """Lets `lanes.make_programs` return the same programs for the same arguments."""
  make = lanes.make_programs

  def made(model, input_shape, training, **settings):
    hashable = training
    if training.uses('noise'):
      levels = training.rule.level_weights.tobytes()
      hashable = training._replace(rule=training.rule._replace(level_weights=levels))
    key = model, input_shape, hashable, *sorted(settings.items())
    if key not in made_programs:
      made_programs[key] = make(model, input_shape, training, **settings)
    return made_programs[key]

  patch.setattr(lanes, 'make_programs', made)


@pytest.fixture(scope='session')
def store(tones):
  return whole_studies.store_of(tones)


@pytest.fixture(scope='session')
def whole(store, made_programs, tmp_path_factory):
  """A finished study of six lanes, resident on the device: its folder, and what `run` returns."""
  path = tmp_path_factory.mktemp('whole') / 'study'
  with pytest.MonkeyPatch.context() as patch, optimised(True):
    patch.setattr(lanes, 'STEPS_PER_CALL', whole_studies.STEPS_PER_CALL)
    share(made_programs, patch)
    study, splits, finished = whole_studies.train(store, path, CONFIG)
  small_study.write_results(study, store, splits, finished)
  return path, whole_studies.outcome(study, splits, finished)
