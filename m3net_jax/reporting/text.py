"""The sentences of the report: what was run, the headline, the warnings. Pure functions."""

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any

from data_prep import arrays, statistics
from data_prep.features import Features
from data_prep.store import Store
from m3net_jax.reporting import tables
from m3net_jax.reporting.summary import cautions, leaks, names_groups
from m3net_jax.study import config, progress
from m3net_jax.study.results import baseline
from m3net_jax.study.workdir import Workdir

_LOSS = {'none': 'all clips weigh the same', 'balanced': 'all classes weigh the same'}


def command(
  settings: config.Config, features: Features, corpus: Mapping[str, Any], workdir: str
) -> str:
  """The command that makes this study: one line per flag, without flags at their default.

  A study of clips in memory has no command: the text says which function made it.
  """
  if corpus['name'] == arrays.CORPUS:
    return f'm3net_jax.train(store, workdir={workdir!r}, config=...)  # settings: config.json'
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
    value = getattr(settings, field.name)
    if value != field.default:
      flags[field.name] = settings.text_of(field.name)
  # Other corpora are found or downloaded by name. The recordings of the 12 classes may be the
  # official test set, which is not found by name.
  if corpus['name'] in ('folder', 'csv', 'speech_commands_12'):
    flags['raw_dir'] = 'FOLDER_OF_THE_RECORDINGS'
  if corpus['skipped_recordings']:
    flags['skip_unreadable'] = 'true'
  if corpus.get('silence_clips') is not None:
    flags['silence_clips'] = str(corpus['silence_clips'])
  flags['workdir'] = workdir
  flags.pop('sweep', None)
  words = [
    'python -m m3net_jax.main',
    *(f'--{name}={shlex.quote(value)}' for name, value in flags.items()),
    *(f'--sweep={shlex.quote(text)}' for text in settings.sweep),
  ]
  return ' \\\n  '.join(words)


def headline(results: Mapping[str, Any]) -> tuple[str, str]:
  """The accuracy of the baseline, and what this figure is, with its interval."""
  name = baseline(results)
  variant = results['variants'][name]
  count = len(variant['lanes'])
  widest = tables.widest(variant)
  if widest is None:
    spread = 'one lane, or lanes of equal accuracy, so no interval'
  else:
    spread = (
      f'95 % interval of the mean {tables.accuracy_interval(widest["ci95"])} for '
      f'{widest["about"]}; standard deviation {tables.percent(variant["std"])} points, '
      f'{count} lanes'
    )
  return (
    f'{tables.percent(variant["mean"])} %',
    f'test accuracy of {name}: mean over lanes; {spread}. {tables.largest_class(results)}',
  )


def warnings(results: Mapping[str, Any]) -> list[str]:
  """What a reader must know before the accuracy: synthetic clips, leakage, skipped recordings."""
  corpus = results['corpus']
  tested = sum(split['sizes']['test'] for split in corpus['splits'])
  sentences = []
  if corpus['synthetic']:
    sentences.append(
      'Synthetic speech: a program spoke these clips. The accuracy says nothing about real '
      'recordings and cannot be compared with figures measured on them.'
    )
  if corpus['shared_groups']:
    sentences.append(
      f'Leakage: {corpus["shared_groups"]} '
      f'{"speakers or recordings" if names_groups(corpus) else "recordings"} '
      'are in both train and test, and '
      f'{corpus["test_clips_in_shared_groups"]:,} of {tested:,} test clips belong to them. Read '
      'the accuracy as that on voices and recordings heard in training, not on new ones.'
    )
  if not names_groups(corpus):
    sentences.append(
      'Leakage is unknown: the corpus names no speakers, so the same voice or place may be in both '
      'train and test.'
    )
  if corpus['test_clips_identical_to_train']:
    sentences.append(
      f'{corpus["test_clips_identical_to_train"]:,} of {tested:,} test clips are byte-identical '
      'to a training clip.'
    )
  if corpus['skipped_recordings']:
    sentences.append(
      f'{corpus["skipped_recordings"]:,} unreadable recordings were skipped; the manifest of the '
      'store lists them.'
    )
  if diverged := diverged_lanes(results):
    sentences.append(
      f'Diverged lanes: {len(diverged)} ({", ".join(diverged[:5])}'
      f'{", ..." if len(diverged) > 5 else ""}). Each counts in means and tests with its best '
      'epoch before it diverged; if there is none, untrained.'
    )
  return sentences + cautions(results)


def diverged_lanes(results: Mapping[str, Any]) -> list[str]:
  """The lanes that diverged, and where."""
  return [
    f'{name}, {lane["split"]}, seed {lane["seed"]}: epoch {lane["diverged_epoch"]}, '
    f'step {lane["diverged_step"]}'
    for name, variant in results['variants'].items()
    for lane in variant['lanes']
    if lane['status'] == 'diverged'
  ]


def facts(workdir: Workdir, results: Mapping[str, Any]) -> list[tuple[str, str]]:
  """(name, value) of what was run."""
  corpus, settings, features = results['corpus'], workdir.config, workdir.features
  sizes = corpus['splits'][0]['sizes']
  lanes = sum(len(variant['lanes']) for variant in results['variants'].values())
  first, last = settings.first_seed, settings.seeds[-1]
  seeds = f'seed {last}' if last == first else f'seeds {first} to {last}'
  several = 'splits' if corpus['split_seeds'] else 'folds'
  folds = f' (first of {len(corpus["splits"])} {several})' if len(corpus['splits']) > 1 else ''
  mels, frames = features.shape
  height, width, depth = settings.input_shape
  scaling = {
    'train': 'normalised with the statistics of the training clips',
    'clip': 'each clip normalised with its own statistics',
  }
  rate = 'swept' if 'learning_rate' in settings.swept else f'{settings.learning_rate:g}'
  learning_rate = f'{rate}, ' + (
    'falling to 0 along a cosine'
    if settings.schedule == 'cosine'
    else f'multiplied by {settings.plateau_factor:g} after {settings.plateau_patience} epochs '
    f'without a validation loss lower by {settings.plateau_tolerance:g}, down to '
    f'{settings.min_learning_rate:g}'
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
      f'{leaks(corpus)}, with {corpus["test_clips_in_shared_groups"]:,} test clips; '
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
      + ('magma picture' if _is_picture(settings) else scaling[settings.normalisation]),
    ),
    (
      'Training',
      f'{lanes} lanes ({seeds} of every variant'
      f'{" and fold" * (bool(folds) and not corpus["split_seeds"])}), '
      f'{settings.num_epochs} epochs, batch {settings.batch_size}, Adam {learning_rate}; '
      f'{recipe(settings)}, no pretraining; {_LOSS[settings.class_weights]}; tested at the epoch '
      f'of the best validation {settings.select.replace("_", " ")}',
    ),
    (
      'Time',
      f'{progress.duration(results["seconds"])} (h:min:s or min:s), {results["compilations"]} '
      'programs compiled',
    ),
    ('Computed by', ' Then: '.join(map(_environment, results['environments']))),
    ('Versions', ', '.join(f'{name} {version}' for name, version in results['versions'].items())),
  ]


def recipe(settings: config.Config) -> str:
  """What the recipe has beside the paper's; of a sweep the settings that it changes are named."""
  swept = set(settings.swept)
  value = lambda name: 'swept' if name in swept else f'{getattr(settings, name):g}'
  on = lambda *names: swept & set(names) or any(getattr(settings, name) for name in names)
  texts = [
    f'{label} {value(name)}'
    for label, name in (
      ('epochs of warm-up', 'warmup_epochs'),
      ('weight decay', 'weight_decay'),
      ('label smoothing', 'label_smoothing'),
      ('average of parameters with decay', 'ema'),
      ('mixup', 'mixup'),
      ('SpecAugment', 'spec_augment'),
    )
    if on(name)
  ]
  spans = (
    ('shift', 'shift_early_ms', 'shift_late_ms', 'ms early to', 'ms late'),
    ('gain', 'gain_low_db', 'gain_high_db', 'to', 'dB'),
  )
  for label, low, high, between, unit in spans:
    if on(low, high):
      texts.append(f'{label} {value(low)} {between} {value(high)} {unit}')
  if on('noise'):
    texts.append(
      f'noise in a share of {value("noise")} of the clips at {value("snr_low_db")} to '
      f'{value("snr_high_db")} dB ('
      + (', '.join(settings.noise_dir) or "the corpus's own, or generated")
      + ')'
    )
  if settings.teacher:
    texts.append(f'teacher {settings.teacher} with weight {value("teacher_weight")}')
  return '; '.join(texts) or 'no augmentation'


def _environment(environment: Mapping[str, Any]) -> str:
  at_once = environment['lanes_at_once']
  return (
    f'{environment["devices"]} x {environment["device"]}, lowering {environment["lowering"]}, '
    + (f'{at_once} lane{"s" * (at_once > 1)}' if at_once else 'all lanes')
    + f' at once on a device, jax {environment["versions"]["jax"]}.'
  )


def _is_picture(settings: config.Config) -> bool:
  return settings.input_shape[2] == 3 and settings.channels == 'magma'


def feature(settings: config.Config) -> str:
  """The input of the network, for the column "Feature"."""
  if _is_picture(settings):
    return 'Log-Mel, magma picture'
  return 'Log-Mel' if settings.input_shape[2] == 1 else 'Log-Mel with differences'


def heads(store: Store | None) -> tuple[str, str, tuple[str, ...]]:
  """(entropy, zero-crossing rate, notes with their definitions) for the paper's Tables 1 and 2.

  Empty without a store.
  """
  if store is None:
    return '', '', ()
  summary = statistics.summary(store.entropies, store.crossings)
  spread = lambda values, digits: f'{values["mean"]:.{digits}f} ± {values["deviation"]:.{digits}f}'
  definitions = summary['definitions']
  note = (
    f'Information entropy: {definitions["entropy"]}. Zero-crossing rate: '
    f'{definitions["crossings"]}. Both: {definitions["over"]}. The paper defines neither, so '
    'compare these values only with those of other studies made by this program.'
  )
  return (
    f'{spread(summary["entropy"], 3)} bits/symbol',
    f'{spread(summary["crossings"], 2)} Hz',
    (note,),
  )
