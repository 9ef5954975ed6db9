"""Classifies recordings with a trained model: the best lane of a study, or a bundle's .tflite file.

    python -m m3net_jax.predict --model=studies/quick clip.wav folder/
    python -m m3net_jax.predict --model=bundles/quick/model_int8.tflite --plot=line.png long.flac

Recordings longer than 1.1 clips are classified window by window; shorter ones are cut or padded as
in training. `-` reads a recording from standard input.
"""

import sys
from pathlib import Path

from absl import flags

from data_prep import cli
from data_prep.errors import UserError
from data_prep.names import visible


def define(values: flags.FlagValues) -> None:
  """Defines the flags of this command."""
  cli.define_path(
    'model',
    None,
    "folder of a study, folder of a bundle (its int8 model), or a bundle's .tflite file",
    values=values,
    required=True,
  )
  flags.DEFINE_string(
    'variant',
    None,
    'variant of the study to use (default: the one with the best validation accuracy)',
    flag_values=values,
  )
  flags.DEFINE_integer(
    'seed',
    None,
    'seed of the lane to use (default: the one with the best validation accuracy)',
    flag_values=values,
  )
  flags.DEFINE_enum(
    'format',
    'table',
    ('table', 'json', 'csv'),
    'output: table for people; json, everything; csv, one row per window and class',
    flag_values=values,
  )
  flags.DEFINE_integer(
    'top_k',
    3,
    'classes named for every recording, or segment of a long one, the most probable first',
    lower_bound=1,
    flag_values=values,
  )
  flags.DEFINE_float(
    'hop_seconds',
    None,
    'seconds from one window of a long recording to the next (default: half a clip)',
    flag_values=values,
  )
  cli.define_path(
    'plot',
    None,
    'picture of one recording to write: spectrogram and probabilities over time (.png, .svg or '
    '.pdf)',
    values=values,
  )
  flags.DEFINE_float(
    'microphone',
    None,
    'seconds to record from the microphone (needs the package sounddevice)',
    flag_values=values,
  )
  flags.DEFINE_bool(
    'skip_unreadable',
    False,
    'leave out recordings that cannot be decoded, and list them, instead of stopping',
    flag_values=values,
  )


def main(arguments: list[str], values: flags.FlagValues) -> None:
  """Classifies the recordings and prints the predictions."""
  from data_prep import audio  # slow to import: not for --help
  from m3net_jax.inference import classifier, microphone, predictions

  sources = _sources(arguments, values.microphone)
  if values.plot:
    from m3net_jax.inference import timeline  # imports matplotlib

    timeline.check_path(Path(values.plot))
    if len(sources) != 1:
      raise UserError(
        f'--plot={values.plot}: is a picture of one recording, {len(sources)} are given: give one'
      )
  model = classifier.load(values.model, values.variant, values.seed)
  features = model.spec.features
  hop = predictions.hop_of(values.hop_seconds, features)
  classified, skipped = [], []
  for source in sources:
    name = _name(source)
    try:
      if source is None:
        samples = microphone.record(values.microphone, features.sample_rate)
      else:
        file = sys.stdin.buffer if str(source) == '-' else source
        # A picture needs all samples at once; without it, a recording may last for days.
        read = audio.read if values.plot else audio.blocks
        samples = read(file, features.sample_rate)
      classified.append(predictions.classify(model, name, samples, hop))
    except audio.Unreadable as error:
      if not values.skip_unreadable:
        others = '; --skip_unreadable leaves such files out' if len(sources) > 1 else ''
        raise UserError(f'{visible(name)}: {error}: {error.fix}{others}') from error
      skipped.append((name, str(error)))
  if not classified:
    raise UserError(
      f'none of {len(skipped)} recordings can be decoded, such as {": ".join(skipped[0])}: '
      'give others'
    )
  if values.format == 'json':
    print(predictions.as_json(classified, model.spec.name, values.top_k))
  else:
    show = {'table': predictions.as_table, 'csv': predictions.as_csv}[values.format]
    print(show(classified, values.top_k))
  for name, reason in skipped:
    print(f'skipped {visible(name)}: {reason}', file=sys.stderr)
  if values.plot:
    timeline.write(Path(values.plot), classified[0], samples, features)
    print(f'wrote {values.plot}', file=sys.stderr)


def _sources(arguments: list[str], microphone: float | None) -> list[Path | None]:
  """Files to classify, those below folders by name; None is the microphone, `-` standard input."""
  from data_prep.corpora import base

  sources: list[Path | None] = [None] if microphone is not None else []
  for argument in arguments:
    path = Path(argument)
    if path.is_dir():
      recordings, others = base.recordings(path)
      if not recordings:
        raise UserError(f'{argument}: holds no recordings{base.seen(others)}: give another folder')
      sources += [path / name for name in recordings]
    else:
      sources.append(path)
  if not sources:
    raise UserError(
      'nothing to classify: give recordings, folders of them, - for standard input, or '
      '--microphone=5'
    )
  return sources


def _name(source: Path | None) -> str:
  if source is None:
    return 'microphone'
  return 'standard input' if str(source) == '-' else str(source)


if __name__ == '__main__':
  cli.run(main, define)
