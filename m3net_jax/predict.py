"""Names the sounds in recordings with a trained model: a study's best lane, or the .tflite file of a bundle.

    python -m m3net_jax.predict --model=studies/quick clip.wav folder/
    python -m m3net_jax.predict --model=bundles/quick/model_int8.tflite --plot=timeline.png long.flac

A recording longer than a clip and a tenth is classified window by window, a shorter one cut or padded as in training.
`-` reads a recording from standard input.
"""
import csv
import io
import json
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from absl import flags

from data_prep import audio, cli
from data_prep.corpora import base
from data_prep.errors import UserError
from data_prep.mel import Features
from m3net_jax.inference import best_lane, classifier, windows
from m3net_jax.inference.classifier import Classifier
from m3net_jax.inference.windows import Segment
from m3net_jax.network import ops
from m3net_jax.study import workdir

_MODEL = flags.DEFINE_string('model', None, 'a study\'s folder, a bundle\'s folder (its int8 model), or a .tflite '
                             'file of a bundle', required=True)
_FORMAT = flags.DEFINE_enum('format', 'table', ('table', 'json', 'csv'), 'what is printed: table for people; json, '
                            'everything; csv, a row a window and class')
_TOP_K = flags.DEFINE_integer('top_k', 3, 'classes named for every recording, or stretch of a long one, '
                              'the most probable first', lower_bound=1)
_HOP_SECONDS = flags.DEFINE_float('hop_seconds', None, 'from one window of a long recording to the next, in seconds '
                                  '(default: half a clip)')
_PLOT = flags.DEFINE_string('plot', None, 'a picture of one recording to write: spectrogram and probabilities over '
                            'time (.png, .svg or .pdf)')
_MICROPHONE = flags.DEFINE_float('microphone', None, 'seconds to record from the microphone and classify (needs the '
                                 'package sounddevice)')
_SKIP_UNREADABLE = flags.DEFINE_bool('skip_unreadable', False, 'leave out recordings that cannot be decoded, and list '
                                     'them, instead of stopping')
flags.adopt_module_key_flags(best_lane)


class Heard(NamedTuple):
  """What a model makes of one recording.

  Attributes:
    name: of the file.
    samples: at the model's rate.
    first: samples at which its windows begin.
    probabilities: [windows, classes].
    segments: windows of one class in a row; one for a short recording.
  """
  name: str
  samples: np.ndarray
  first: list[int]
  probabilities: np.ndarray
  segments: list[Segment]


def main(arguments: list[str]) -> None:
  sources = _sources(arguments)
  if _PLOT.value:
    from m3net_jax.inference import timeline
    timeline.check_path(Path(_PLOT.value))
    if len(sources) != 1:
      raise UserError(f'--plot={_PLOT.value}: is a picture of one recording, {len(sources)} are given: give one')
  made = load(_MODEL.value, *best_lane.asked())
  features = made.spec.features
  hop = _hop(_HOP_SECONDS.value, features)
  heard, skipped = [], []
  for source in sources:
    try:
      heard.append(classify(made, _name(source), _samples(source, features), hop))
    except audio.Unreadable as error:
      if not _SKIP_UNREADABLE.value:
        mend = (': give a WAV, FLAC, OGG or MP3 file' if len(sources) == 1 else
                '; --skip_unreadable leaves such files out')
        raise UserError(f'{_name(source)}: {error}{mend}') from error
      skipped.append((_name(source), str(error)))
  if not heard:
    raise UserError(f'none of {len(skipped)} recordings can be decoded, such as {": ".join(skipped[0])}: give others')
  show = {'table': table, 'json': as_json, 'csv': as_csv}[_FORMAT.value]
  print(show(heard, made, min(_TOP_K.value, len(made.spec.classes))))
  for name, reason in skipped:
    print(f'skipped {name}: {reason}', file=sys.stderr)
  if _PLOT.value:
    timeline.write(Path(_PLOT.value), heard[0].name, heard[0].samples, features, made.spec.classes, *heard[0][2:])
    print(f'wrote {_PLOT.value}', file=sys.stderr)


def load(model: str, variant: str | None = None, seed: int | None = None) -> Classifier:
  """The classifier of --model: a study's folder, of which `variant` and `seed` choose a lane, a bundle's folder or a
  .tflite file."""
  path = Path(model)
  if path.is_dir() and (path / 'model.json').exists():
    path /= 'model_int8.tflite'
  if not path.is_dir():
    if not path.exists():
      raise UserError(f'--model={model}: does not exist: give a study\'s folder, or a .tflite file of a bundle')
    if path.suffix != '.tflite':
      raise UserError(f'--model={model}: give a study\'s folder, or a .tflite file of a bundle')
    if (variant, seed) != (None, None):
      raise UserError(f'--model={model}: holds one lane, and --variant or --seed asks for one: give the study\'s '
                      'folder')
    return classifier.of_tflite(path)
  study = workdir.read(path)
  return classifier.of_lane(study, best_lane.load(study, variant, seed), ops.lowering_for(jax.default_backend()))


def classify(made: Classifier, name: str, samples: np.ndarray, hop: int) -> Heard:
  """Classifies a recording at the model's rate, its windows `hop` samples apart."""
  features = made.spec.features
  first = windows.starts(len(samples), features, hop)
  probabilities = made.probabilities(windows.log_mels(samples, features, first))
  return Heard(name, samples, first, probabilities, windows.segments(probabilities, first, len(samples), features))


def table(heard: list[Heard], made: Classifier, top_k: int) -> str:
  """For people: a line a recording, or a line a stretch of a long one, with its top classes."""
  lines = []
  wide = max(len(each.name) for each in heard)
  label = max(map(len, made.spec.classes))
  named = lambda probabilities: ''.join(f'  {name:<{label}} {100 * p:5.1f} %'
                                        for name, p in _top(probabilities, made, top_k))
  for each in heard:
    if len(each.first) == 1:
      lines.append(f'{each.name:<{wide}}' + named(each.probabilities[0]))
      continue
    lines.append(f'{each.name}  {len(each.samples) / made.spec.features.sample_rate:.1f} s, {len(each.first)} windows')
    lines += [f'  {segment.start:8.2f} to {segment.end:8.2f} s{named(segment.probabilities)}'
              for segment in each.segments]
  return '\n'.join(lines)


def as_json(heard: list[Heard], made: Classifier, top_k: int) -> str:
  """Everything: windows and stretches with their top classes."""
  rate, clip = made.spec.features.sample_rate, made.spec.features.num_samples
  named = lambda probabilities: [{'class': name, 'probability': p} for name, p in _top(probabilities, made, top_k)]
  rows = [{
      'file': each.name, 'seconds': len(each.samples) / rate,
      'windows': [{'start': start / rate, 'end': (start + clip) / rate, 'top': named(probabilities)}
                  for start, probabilities in zip(each.first, each.probabilities)],
      'segments': [{'start': segment.start, 'end': segment.end, 'top': named(segment.probabilities)}
                   for segment in each.segments],
  } for each in heard]
  return json.dumps({'model': made.spec.name, 'recordings': rows}, indent=1)


def as_csv(heard: list[Heard], made: Classifier, top_k: int) -> str:
  """A row a window and class."""
  rate, clip = made.spec.features.sample_rate, made.spec.features.num_samples
  text = io.StringIO()
  rows = csv.writer(text, lineterminator='\n')
  rows.writerow(('file', 'start', 'end', 'rank', 'class', 'probability'))
  for each in heard:
    for start, probabilities in zip(each.first, each.probabilities):
      rows.writerows((each.name, start / rate, (start + clip) / rate, rank, name, f'{p:.6f}')
                     for rank, (name, p) in enumerate(_top(probabilities, made, top_k), 1))
  return text.getvalue().rstrip('\n')


def _top(probabilities: np.ndarray, made: Classifier, top_k: int) -> list[tuple[str, float]]:
  """The most probable classes of [classes], and how probable they are."""
  order = np.argsort(-probabilities, kind='stable')[:top_k]
  return [(made.spec.classes[index], float(probabilities[index])) for index in order]


def _sources(arguments: list[str]) -> list[Path | None]:
  """Files to classify, those below folders in the order of their names; None is the microphone, `-` standard input."""
  sources: list[Path | None] = [None] if _MICROPHONE.value is not None else []
  for argument in arguments:
    path = Path(argument)
    if path.is_dir():
      found, _ = base.recordings(path)
      if not found:
        raise UserError(f'{argument}: holds no recordings ({", ".join(audio.SUFFIXES)}): give another folder')
      sources += [path / name for name in found]
    else:
      sources.append(path)
  if not sources:
    raise UserError('nothing to classify: give recordings, folders of them, - for standard input, or --microphone=5')
  return sources


def _name(source: Path | None) -> str:
  return 'microphone' if source is None else 'standard input' if str(source) == '-' else str(source)


def _samples(source: Path | None, features: Features) -> np.ndarray:
  if source is None:
    return _recorded(_MICROPHONE.value, features)
  return audio.read(sys.stdin.buffer if str(source) == '-' else source, features.sample_rate)


def _recorded(seconds: float, features: Features) -> np.ndarray:
  """Samples from the microphone, which records at its own rate: not every one can at the model's."""
  if not 0 < seconds <= 3600:
    raise UserError(f'--microphone={seconds:g}: give the seconds to record, up to 3600')
  try:
    import sounddevice
  except (ImportError, OSError) as error:  # OSError: the package is there, its library PortAudio is not
    raise UserError(f'--microphone={seconds:g}: sounddevice cannot be loaded ({error}): pip install sounddevice, and '
                    'PortAudio from your system') from error
  print(f'listening for {seconds:g} s', file=sys.stderr, flush=True)
  try:
    rate = round(sounddevice.query_devices(kind='input')['default_samplerate'])
    samples = sounddevice.rec(round(seconds * rate), rate, 1, 'float32', blocking=True)
  except sounddevice.PortAudioError as error:
    raise UserError(f'--microphone={seconds:g}: {" ".join(str(error).split())}: plug one in, or give a file') from error
  return audio.resample(samples[:, 0], rate, features.sample_rate)


def _hop(seconds: float | None, features: Features) -> int:
  """Samples from one window to the next."""
  if seconds is None:
    return max(1, features.num_samples // 2)
  if not 1 / features.sample_rate <= seconds <= features.clip_seconds:
    raise UserError(f'--hop_seconds={seconds:g}: give more than 0 and at most the clip, {features.clip_seconds:g}')
  return round(seconds * features.sample_rate)


if __name__ == '__main__':
  cli.run(main)
