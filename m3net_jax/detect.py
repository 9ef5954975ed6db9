"""Finds the words of a stream: a long recording, with events and their times.

    python -m m3net_jax.detect --model=bundles/quick --stream=evening.flac
    python -m m3net_jax.detect --model=studies/mine --make_stream=streams --noise_dir=noise
    python -m m3net_jax.detect --model=studies/mine --calibrate=streams --false_alarms=6

The second line makes labelled streams of a study's validation and test clips over noise. The third
chooses the thresholds of every lane on the validation streams, measures them on the test streams
and writes detection.json, figures/detection.png and the report; an export then has the thresholds.
"""

import sys
from pathlib import Path

from absl import flags

from data_prep import cli
from data_prep.errors import UserError


def define(values: flags.FlagValues) -> None:
  """Defines the flags of this command."""
  cli.define_path(
    'model',
    None,
    "folder of a study, folder of a bundle (its int8 model), or a bundle's .tflite file",
    values=values,
    required=True,
  )
  flags.DEFINE_string('variant', None, 'variant of the study to use', flag_values=values)
  flags.DEFINE_integer('seed', None, 'seed of the lane to use', flag_values=values)
  cli.define_path('stream', None, 'recording to listen to; - for standard input', values=values)
  cli.define_path(
    'truth',
    None,
    "what is said in it: a csv with start,end,label, or Audacity's labels; counts hits and alarms",
    values=values,
  )
  flags.DEFINE_float(
    'threshold',
    None,
    'one threshold for all classes, 0 to 1, in place of those of the model',
    flag_values=values,
  )
  flags.DEFINE_enum(
    'format',
    'table',
    ('table', 'json', 'csv', 'audacity'),
    'output: table for people; json; csv; audacity, a label track',
    flag_values=values,
  )
  cli.define_path(
    'plot',
    None,
    'picture to write: probabilities and events over time (.png, .svg or .pdf)',
    values=values,
  )
  cli.define_path(
    'save_false_alarms',
    None,
    'folder for the windows of false alarms as WAV, to be used as _unknown_; without --truth every '
    'event is one',
    values=values,
  )
  cli.define_path(
    'make_stream',
    None,
    'folder for labelled streams of the validation and test clips of a study (needs --noise_dir)',
    values=values,
  )
  cli.define_paths('noise_dir', 'folders of noise recordings for --make_stream', values=values)
  flags.DEFINE_list(
    'snr_db',
    ['20', '10', '0'],
    'signal-to-noise ratios of --make_stream, dB, comma-separated',
    flag_values=values,
  )
  flags.DEFINE_float(
    'minutes', 60.0, 'length of every stream of --make_stream', 1.0, 600.0, flag_values=values
  )
  cli.define_path(
    'raw_dir',
    None,
    'folder of the recordings (default: where they were when the store was made)',
    values=values,
  )
  cli.define_path(
    'calibrate',
    None,
    'folder of --make_stream: chooses the thresholds of a study there and measures them',
    values=values,
  )
  flags.DEFINE_float(
    'false_alarms',
    6.0,
    'false alarms an hour that --calibrate allows in each validation stream',
    0.0,
    flag_values=values,
  )


def main(arguments: list[str], values: flags.FlagValues) -> None:
  """Listens, makes streams or calibrates."""
  cli.no_arguments(arguments)
  given = [name for name in ('stream', 'make_stream', 'calibrate') if getattr(values, name)]
  if len(given) != 1:
    said = ' and '.join(f'--{name}' for name in given) or 'none of them is'
    raise UserError(f'give one of --stream, --make_stream and --calibrate ({said} given)')
  if given == ['stream']:
    _listen(values)
    return
  from m3net_jax import api  # slow to import: not for --help
  from m3net_jax.reporting import detections

  if (Path(values.model) / 'model.json').exists() or values.model.endswith('.tflite'):
    raise UserError(
      f'--model={values.model}: --{given[0]} is for a study: give its folder, and export it again '
      'afterwards'
    )
  study = api.open_study(values.model)
  if values.make_stream:
    written = study.make_streams(
      values.make_stream,
      values.noise_dir,
      snr_db=_ratios(values.snr_db),
      minutes=values.minutes,
      raw_dir=values.raw_dir,
    )
    print('\n'.join(f'wrote {path}' for path in written))
    return
  content = study.calibrate(values.calibrate, values.false_alarms)
  print(f'{detections.text(content)}\n')
  names = ('detection.json', 'figures/detection.png', 'report.html')
  print('\n'.join(f'wrote {study.path / name}' for name in names))


def _listen(values: flags.FlagValues) -> None:
  from data_prep import audio
  from m3net_jax import api
  from m3net_jax.inference import detection
  from m3net_jax.study import streams

  if values.plot:
    from m3net_jax.inference import timeline  # imports matplotlib

    timeline.check_path(Path(values.plot))
  model = api.load_model(values.model, values.variant, values.seed)
  name = 'standard input' if values.stream == '-' else values.stream
  try:
    source = sys.stdin.buffer if values.stream == '-' else values.stream
    samples = audio.read(source, model.spec.features.sample_rate)
  except audio.Unreadable as error:
    raise UserError(f'--stream={name}: {error}: {error.fix}') from error
  if model.spec.detector is None and values.threshold is None:
    print(
      f'{values.model}: has no thresholds of its own (--calibrate chooses them): '
      f'{detection.DEFAULT_THRESHOLD:g} for every class',
      file=sys.stderr,
    )
  if values.truth:
    words = streams.read_words(Path(values.truth))
  else:
    words = [] if values.save_false_alarms else None
  found = detection.detect(model, samples, name, threshold=values.threshold, words=words)
  show = {
    'table': detection.as_table,
    'json': detection.as_json,
    'csv': detection.as_csv,
    'audacity': detection.as_labels,
  }[values.format]
  print(show(found), end='')
  if values.format == 'table' and found.score:
    print(detection.counted(found.score))
  if values.save_false_alarms:
    written = detection.save_alarms(found, samples, Path(values.save_false_alarms))
    print(f'wrote {written} clips to {values.save_false_alarms}', file=sys.stderr)
  if values.plot:
    timeline.write_events(Path(values.plot), found, samples)
    print(f'wrote {values.plot}', file=sys.stderr)


def _ratios(texts: list[str]) -> list[float]:
  try:
    ratios = [float(text) for text in texts]
    if not ratios or not all(-50 <= ratio <= 100 for ratio in ratios):
      raise ValueError
  except ValueError:
    raise UserError(
      f'--snr_db={",".join(texts)}: give ratios from -50 to 100 dB, such as 20,10,0'
    ) from None
  return list(dict.fromkeys(ratios))


if __name__ == '__main__':
  cli.run(main, define)
