"""Prepares the store of a corpus, describes it or draws it.

    python -m data_prep.main --corpus=fsdd --raw_dir=corpora --download --describe
    python -m data_prep.main --describe stores/fsdd-d0a3d5ae05

Prints the store's folder. A second run checks that the store still fits its recordings; a run after
an interruption continues. With --describe or --figure and a store's folder it prepares nothing.
"""

import sys
from pathlib import Path

from absl import flags

from data_prep import cli, corpora, files
from data_prep.errors import UserError
from data_prep.features import PRESETS, Features


def define(values: flags.FlagValues) -> None:
  """Defines the flags of this command."""
  define_store_flags(values)
  flags.DEFINE_bool('describe', False, 'also print what the store holds', flag_values=values)
  cli.define_path(
    'figure',
    None,
    'picture to draw (.png, .svg or .pdf): one clip of each class and the distribution of all '
    'values',
    values=values,
  )


def define_store_flags(values: flags.FlagValues) -> None:
  """Defines the flags of a corpus and its store, for every command that prepares a store."""
  flags.DEFINE_enum(
    'corpus',
    'synthetic_commands',
    corpora.NAMES,
    'recordings to use: "folder" for your own with one folder per class, "csv" for your own with a '
    'clips.csv; "synthetic_commands" is spoken by a program and needs no recordings',
    flag_values=values,
  )
  cli.define_path(
    'raw_dir',
    'corpora',
    'folder of the recordings, or a folder with a subfolder named after the corpus; downloads go '
    'there',
    values=values,
  )
  cli.define_path(
    'store_dir',
    'stores',
    'folder of the stores (features, computed once per setting)',
    values=values,
  )
  flags.DEFINE_float(
    'clip_seconds',
    None,
    'length of a clip in seconds: shorter clips are padded or repeated, longer clips are cut '
    '(default: of the corpus, 1 for words and folders, 4 or 5 for sounds)',
    flag_values=values,
  )
  flags.DEFINE_enum(
    'preset',
    'section_2.1',
    PRESETS,
    'features, as defaults of the next six flags: those of a section of the paper, 128 filters, '
    'n_fft and hop 512, at 16000 Hz (section_2.1) or 44100 Hz (section_3.1); or stream, whose '
    'frames depend on their own samples alone, for a detector on a device',
    flag_values=values,
  )
  for name, text in (
    ('sample_rate', 'rate to which all recordings are resampled, in Hz'),
    ('n_fft', 'samples per frame of the Mel spectrogram'),
    ('hop_length', 'samples from one frame to the next'),
    ('n_mels', 'number of Mel filters, the height of the spectrogram'),
  ):
    flags.DEFINE_integer(name, None, text, flag_values=values)
  flags.DEFINE_bool(
    'center', None, 'zeros of half a frame on both sides of a clip', flag_values=values
  )
  flags.DEFINE_float(
    'floor_db',
    None,
    'lowest value, dB, the same for every clip (default of the sections: 80 dB below the loudest '
    'value of a clip)',
    -200.0,
    0.0,
    flag_values=values,
  )
  flags.DEFINE_bool(
    'skip_unreadable',
    False,
    'leave out recordings that cannot be decoded, and list them in the manifest, instead of '
    'stopping',
    flag_values=values,
  )
  flags.DEFINE_integer(
    'silence_clips',
    None,
    '--corpus=folder: number of clips of the class _silence_ to cut from the recordings in _noise_ '
    '(default: up to as many as the mean class has; 0: none)',
    lower_bound=0,
    flag_values=values,
  )
  flags.DEFINE_bool('download', False, 'download the corpus if it is absent', flag_values=values)
  flags.DEFINE_integer(
    'num_processes',
    None,
    'processes that compute features (default: one per core)',
    lower_bound=1,
    flag_values=values,
  )


def features_from(values: flags.FlagValues) -> Features:
  """The features that the flags describe.

  Raises:
    UserError: a value is out of range.
  """
  names = ('sample_rate', 'n_fft', 'hop_length', 'n_mels', 'clip_seconds', 'center')
  settings = {name: values[name].value for name in names if values[name].value is not None}
  if values.floor_db is not None:
    settings |= {'top_db': 0.0, 'amin': 10.0 ** (values.floor_db / 10)}
  return corpora.features_of(values.corpus, **(PRESETS[values.preset] | settings))


def prepare_from(values: flags.FlagValues) -> Path:
  """Prepares the store that the flags describe, if it is absent; returns its folder."""
  features = features_from(values)
  from data_prep.prepare import prepare  # slow to import: not for --help

  return prepare(
    values.corpus,
    values.raw_dir,
    values.store_dir,
    features,
    skip_unreadable=values.skip_unreadable,
    download=values.download,
    silence_clips=values.silence_clips,
    num_processes=values.num_processes,
  )


def main(arguments: list[str], values: flags.FlagValues) -> None:
  """Prepares, describes and draws a store, as the flags say."""
  shows = values.describe or values.figure
  cli.no_arguments(arguments[1:] if shows else arguments)
  if values.figure and Path(values.figure).suffix.lower() not in files.FIGURES:
    raise UserError(
      f'--figure={values.figure}: give a file that ends in {", ".join(files.FIGURES)}'
    )
  path = Path(arguments[0]) if arguments else prepare_from(values)
  if not shows:
    print(path)
    return
  from data_prep import describe, statistics, store

  loaded = store.load(path)
  print(describe.text(loaded) if values.describe else path)
  if values.figure:
    statistics.figure(loaded, Path(values.figure))


if __name__ == '__main__':
  sys.exit(cli.run(main, define))
