"""A small study, written as the main command writes it, for tests of later steps."""

import dataclasses
import json

from data_prep import files
from m3net_jax.study import devices, ingredients, opening, results, trainer
from m3net_jax.study.config import Config

CONFIG = Config(
  variants=('full',),
  num_seeds=2,
  num_epochs=8,
  batch_size=12,
  learning_rate=0.01,
  input_shape=(16, 16, 1),
)
# Without Mirror Attention, a program compiles in half the time: for what no network changes.
QUICK = dataclasses.replace(CONFIG, variants=('no_ma',))


def opened(path, config, store, shared=ingredients.NONE):
  """Makes or opens the workdir of a study, as the main command does."""
  found = opening.find(path, config, store)
  opening.write(found, store, shared)
  return found.study


def train(tones, path, config=CONFIG, **options):
  """Trains on the store of tones, with options of `trainer.train`; returns the finished workdir."""
  study = opened(path, config, tones)
  study_splits = study.splits(tones)
  finished = trainer.train(config, study.seed_ranges, tones, study_splits, study.path, **options)
  write_results(study, tones, study_splits, finished)
  return study


def write_results(study, tones, study_splits, finished):
  """Writes predictions and results of trained cohorts; then the study is finished."""
  predictions = trainer.predictions_by_key(finished, study_splits)
  study.write_predictions(predictions)
  rows = [row for cohort in finished for row in cohort.rows]
  content = results.build(
    study.config,
    tones,
    study_splits,
    rows,
    predictions,
    environments=[devices.environment(study.config)],
    compilations=sum(cohort.compilations for cohort in finished),
    seconds=1,
  )
  files.write_json(study.path / 'results.json', json.loads(json.dumps(content)))
