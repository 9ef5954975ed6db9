"""The report in words: what was run, the headline, what one must know before the accuracy. Pure functions."""

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any

from data_prep import statistics
from data_prep.features import Features
from data_prep.store import Store
from m3net_jax.reporting import tables
from m3net_jax.reporting.summary import leaks, names_groups
from m3net_jax.study import config, progress
from m3net_jax.study.workdir import Workdir


def command(
  asked: config.Config, features: Features, corpus: Mapping[str, Any], workdir: str
) -> str:
  """The command that makes this study, a flag a line: every one that is not at its default."""
  flags = {'corpus': corpus['name'], 'clip_seconds': f'{features.clip_seconds:g}'}
  for name, default in (
    ('sample_rate', 16000),
    ('n_fft', 512),
    ('hop_length', 512),
    ('n_mels', 128),
  ):
    if getattr(features, name) != default:
      flags[name] = str(getattr(features, name))
  for field in dataclasses.fields(config.Config):
    value = getattr(asked, field.name)
    if value != field.default:
      flags[field.name] = ','.join(map(str, value)) if isinstance(value, tuple) else str(value)
  # Others are found, or downloaded, by their name; the 12 classes may be those of the test set, which is not.
  if corpus['name'] in ('folder', 'csv', 'speech_commands_12'):
    flags['raw_dir'] = 'FOLDER_OF_THE_RECORDINGS'
  if corpus['skipped_recordings']:
    flags['skip_unreadable'] = 'true'
  flags['workdir'] = workdir
  words = [
    'python -m m3net_jax.main',
    *(f'--{name}={shlex.quote(value)}' for name, value in flags.items()),
  ]
  return ' \\\n  '.join(words)


def headline(results: Mapping[str, Any]) -> tuple[str, str]:
  """The accuracy of the headline's variant, and what it is with its interval."""
  name = tables.baseline(results)
  variant = results['variants'][name]
  count = len(variant['lanes'])
  if variant['ci95'] is None:
    spread = 'one lane, so no interval'
  else:
    spread = (
      f'95 % interval of the mean {tables.interval(variant["ci95"])}, standard deviation '
      f'{tables.percent(variant["std"])} points, {count} lanes'
    )
  return (
    f'{tables.percent(variant["mean"])} %',
    f'test accuracy of {name}: mean over lanes; {spread}',
  )


def warnings(results: Mapping[str, Any]) -> list[str]:
  """What a reader must know before the accuracy: synthetic clips, leakage, what was left out."""
  corpus = results['corpus']
  tested = sum(split['sizes']['test'] for split in corpus['splits'])
  found = []
  if corpus['synthetic']:
    found.append(
      'Synthetic speech: these clips were spoken by a program. Nothing here says how well real '
      'recordings are recognised, and no figure is comparable with one measured on them.'
    )
  if corpus['shared_groups']:
    found.append(
      f'Leakage: {corpus["shared_groups"]} speakers or recordings are in both train and test, and '
      f'{corpus["test_clips_in_shared_groups"]:,} of {tested:,} test clips are theirs. Read the '
      'accuracy as that of voices and recordings heard in training, not as that of new ones.'
    )
  elif not names_groups(corpus):
    found.append(
      'Leakage is unknown: the corpus names no speakers, so that one voice or place may be in both train '
      'and test.'
    )
  if corpus['test_clips_identical_to_train']:
    found.append(
      f'{corpus["test_clips_identical_to_train"]:,} of {tested:,} test clips are byte-identical '
      'to a training clip.'
    )
  if corpus['skipped_recordings']:
    found.append(
      f'{corpus["skipped_recordings"]:,} unreadable recordings were skipped; the manifest of the '
      'store lists them.'
    )
  statuses = [
    lane['status'] for variant in results['variants'].values() for lane in variant['lanes']
  ]
  if diverged := statuses.count('diverged'):
    found.append(
      f'{diverged} lanes diverged; they are counted as they were at their best epoch before.'
    )
  if corpus['split'] == 'folds':
    found.append(
      'Lanes of different folds share training clips, so intervals and tests over all of them are '
      'narrower than new recordings would make them.'
    )
  return found


def facts(here: Workdir, results: Mapping[str, Any]) -> list[tuple[str, str]]:
  """(name, value) of what was run."""
  corpus, asked, features = results['corpus'], here.config, here.features
  sizes = corpus['splits'][0]['sizes']
  lanes = sum(len(variant['lanes']) for variant in results['variants'].values())
  last = asked.seeds[-1]
  seeds = f'seed {last}' if last == asked.first_seed else f'seeds {asked.first_seed} to {last}'
  folds = f' (first of {len(corpus["splits"])} folds)' if len(corpus['splits']) > 1 else ''
  mels, frames = features.shape
  height, width, depth = asked.input_shape
  scaled = {'train': 'normalised by the training clips', 'clip': 'every clip normalised by itself'}
  plateau = (
    f'{asked.learning_rate:g}, times {asked.plateau_factor:g} after {asked.plateau_patience} epochs '
    f'without a lower validation loss, to {asked.min_learning_rate:g} at least'
  )
  return [
    (
      'Corpus',
      f'{tables.corpus_title(results)}: {corpus["num_clips"]:,} clips, '
      f'{corpus["num_classes"]} classes',
    ),
    (
      'Protocol',
      f'{corpus["protocol"]}: {sizes["train"]:,} train, {sizes["validation"]:,} validation, '
      f'{sizes["test"]:,} test{folds}',
    ),
    (
      'Leakage',
      f'{leaks(corpus)}, {corpus["test_clips_in_shared_groups"]:,} test clips of those; '
      f'{corpus["test_clips_identical_to_train"]:,} test clips byte-identical to a training clip',
    ),
    (
      'Features',
      f'log-Mel, {mels} filters x {frames} frames, {features.sample_rate:,} Hz, '
      f'{features.clip_seconds:g} s, {features.n_fft}-sample FFT, hop {features.hop_length}',
    ),
    (
      'Input',
      f'{height} x {width} x {depth} (frequency x time x channels), '
      + ('magma picture' if _pictured(asked) else scaled[asked.normalisation]),
    ),
    (
      'Training',
      f'{lanes} lanes ({seeds} of every variant{" and fold" * bool(folds)}), {asked.num_epochs} epochs, '
      f'batch {asked.batch_size}, Adam {plateau}; no augmentation, no pretraining; tested at '
      'the best validation epoch',
    ),
    (
      'Time',
      f'{progress.duration(results["seconds"])} (h:min:s or min:s), {results["compilations"]} '
      'programs compiled',
    ),
    ('Versions', ', '.join(f'{name} {version}' for name, version in results['versions'].items())),
  ]


def _pictured(asked: config.Config) -> bool:
  return asked.input_shape[2] == 3 and asked.channels == 'magma'


def feature(asked: config.Config) -> str:
  """What the network sees, for the column of that name."""
  if _pictured(asked):
    return 'Log-Mel, magma picture'
  return 'Log-Mel' if asked.input_shape[2] == 1 else 'Log-Mel with differences'


def heads(store: Store | None) -> tuple[str, str, tuple[str, ...]]:
  """Entropy and zero-crossing rate for the heads of the paper's Tables 1 and 2, and how ours are defined."""
  if store is None:
    return '', '', ()
  found = statistics.summary(store.entropies, store.crossings)
  shown = lambda each, digits: f'{each["mean"]:.{digits}f} ± {each["deviation"]:.{digits}f}'
  said = found['definitions']
  note = (
    f'Information entropy: {said["entropy"]}. Zero-crossing rate: {said["crossings"]}. Both: '
    f'{said["over"]}. The paper defines neither, so they compare corpora of ours with each other only.'
  )
  return f'{shown(found["entropy"], 3)} bits/symbol', f'{shown(found["crossings"], 2)} Hz', (note,)
