"""The C++ of a bundle, compiled, against the Python that trained; and the folder of a bundle."""

import dataclasses
import re
import shutil
import subprocess

import librosa
import numpy as np
import pytest

from data_prep import mel
from data_prep.errors import UserError
from data_prep.features import Features
from m3net_jax.deploy import bundle, firmware, operators
from m3net_jax.inference.classifier import ModelSpec
from m3net_jax.inference.runtimes import Tensor

FEATURES = Features(sample_rate=8000, clip_seconds=0.5, n_fft=256, hop_length=126, n_mels=32)
SPEC = ModelSpec(
  'full, seed 0',
  ('a', 'the "second"', 'drei\\vier'),
  FEATURES,
  (32, 32, 1),
  'magma',
  'train',
  -43.25,
  17.5,
)
MODEL = bytes(range(256)) * 3
INPUT, OUTPUT = (
  Tensor((1, 32, 32, 1), np.dtype(np.int8), 0.03125, -7),
  Tensor((1, 3), np.dtype(np.int8), 0.25, 4),
)

needs_compiler = pytest.mark.skipif(not shutil.which('g++'), reason='needs g++')

PROGRAM = """
#include <cstdio>
#include <cstring>
#include <vector>
#include "frontend.h"
#include "golden.h"
#include "labels.h"
#include "model_data.h"

int main() {
  using namespace m3net;
  std::vector<int16_t> samples(kNumSamples), golden(kNumSamples);
  if (std::fread(samples.data(), 2, kNumSamples, stdin) != kNumSamples) return 1;
  uint32_t state = 1;
  for (int i = 0; i < kNumSamples; ++i) golden[i] = GoldenSample(state, i);
  std::vector<float> decibels(kNumMels * kNumFrames);
  std::vector<int8_t> input(kInputBytes);
  LogMel(samples.data(), decibels.data());
  FillInput(decibels.data(), kInputScale, kInputZeroPoint, input.data());
  std::fwrite(decibels.data(), 4, decibels.size(), stdout);
  std::fwrite(input.data(), 1, input.size(), stdout);
  std::fwrite(golden.data(), 2, golden.size(), stdout);
  std::fwrite(kGoldenFrontEnd, 1, kInputBytes, stdout);
  std::fwrite(kModel, 1, kModelBytes, stdout);
  for (const char* label : kLabels) std::fwrite(label, 1, std::strlen(label) + 1, stdout);
}
"""


def sources(spec):
  shape = (2, *spec.input_shape)
  chance = np.random.default_rng(0)
  golden = chance.integers(-128, 128, shape, np.int8), chance.integers(-128, 128, (2, 3), np.int8)
  return firmware.files(
    spec,
    MODEL,
    arena=52304,
    tensors=(INPUT._replace(shape=(1, *spec.input_shape)), OUTPUT),
    operator_names=['ADD', 'REVERSE_V2'],
    golden=golden,
  )


def sound(count):
  """A sweep that fades into noise, then silence, to reach the floor of the decibels; int16."""
  chance, t = np.random.default_rng(1), np.arange(count) / 8000
  wave = 0.4 * np.sin(2 * np.pi * (200 * t + 3000 * t**2)) * np.exp(
    -6 * t
  ) + 0.002 * chance.standard_normal(count)
  wave[-count // 4 :] = 0
  return np.round(wave * 32767).astype(np.int16)


@needs_compiler
@pytest.mark.parametrize(
  'change',
  [
    {},
    {'input_shape': (32, 32, 1), 'normalisation': 'clip'},
    {'input_shape': (48, 20, 1)},  # one axis grows, the other shrinks
    {'input_shape': (40, 40, 3)},
    {'input_shape': (32, 30, 3), 'channels': 'delta'},
  ],
  ids=['train', 'clip', 'resized', 'magma', 'delta'],
)
def test_compiled_front_end_makes_the_input_that_python_makes(tmp_path, change):
  spec = dataclasses.replace(SPEC, **change)
  bundle.write_sources(tmp_path, sources(spec))
  (tmp_path / 'program.cc').write_text(PROGRAM)
  # With -I, as build systems give folders: glibc's own features.h must still be found behind ours.
  subprocess.run(
    [
      'g++',
      '-std=c++17',
      '-O1',
      '-Wall',
      '-Wextra',
      '-Werror',
      f'-I{tmp_path}',
      '-o',
      'program',
      'program.cc',
      'frontend.cc',
      'golden.cc',
      'model_data.cc',
    ],
    cwd=tmp_path,
    check=True,
  )
  samples = sound(FEATURES.num_samples)
  said = subprocess.run(
    [tmp_path / 'program'], input=samples.tobytes(), capture_output=True, check=True
  ).stdout
  values, size = FEATURES.n_mels * FEATURES.frames, int(np.prod(spec.input_shape))
  cuts = np.cumsum([4 * values, size, 2 * FEATURES.num_samples, size, len(MODEL)])
  decibels, given, golden, front_end, model, labels = (
    said[start:end] for start, end in zip([0, *cuts], [*cuts, None])
  )

  # librosa itself is the judge of the spectrogram.
  power = librosa.feature.melspectrogram(
    y=samples.astype(np.float32) / 32768, sr=8000, n_fft=256, hop_length=126, n_mels=32
  )
  expected = librosa.power_to_db(power)
  made = np.frombuffer(decibels, np.float32).reshape(expected.shape)
  np.testing.assert_allclose(made, expected, rtol=0, atol=0.01)

  def stored(clip):
    image = spec.images(mel.log_mel(clip.astype(np.float32) / 32768, FEATURES)[None])[0]
    return np.clip(np.round(image / 0.03125) - 7, -128, 127).ravel()

  # A colour's step is larger than a rounding's, where a value lies between two colours.
  largest = 2 if spec.channels == 'magma' and spec.input_shape[2] == 3 else 1
  for clip, bytes_made in ((samples, given), (np.frombuffer(golden, np.int16), front_end)):
    difference = np.abs(np.frombuffer(bytes_made, np.int8) - stored(clip))
    assert difference.max() <= largest and (difference > 0).mean() < 0.01
  np.testing.assert_array_equal(
    np.frombuffer(golden, np.int16), firmware.golden_samples(FEATURES.num_samples)
  )
  assert np.frombuffer(front_end, np.int8).std() > 5
  assert model == MODEL
  assert labels.decode().split('\0')[:-1] == list(spec.classes)


@needs_compiler
def test_c_programs_still_find_libcs_features(tmp_path):
  bundle.write_sources(tmp_path, sources(SPEC))
  (tmp_path / 'program.c').write_text(
    '#include <stdio.h>\nint main(void) { return puts("c") < 0; }\n'
  )
  subprocess.run(['gcc', f'-I{tmp_path}', 'program.c', '-o', 'program'], cwd=tmp_path, check=True)


def test_constants_of_the_headers():
  made = sources(SPEC)
  number = lambda name: float(
    re.search(rf'\b{name} = (-?[\d.e-]+)', made['features.h'] + made['model_data.h'])[1]
  )
  assert number('kMean') == -43.25 and number('kDeviation') == 17.5
  assert (
    number('kModelBytes') == 768
    and number('kInputScale') == 0.03125
    and number('kInputZeroPoint') == -7
  )
  assert (
    number('kArenaBytes') % 1024 == 0
    and 52304 * 1.05 <= number('kArenaBytes') < 52304 * 1.05 + 1024
  )
  assert re.findall(r'resolver\.(\w+)\(', made['op_resolver.h']) == ['AddAdd', 'AddReverseV2']
  assert 'MicroMutableOpResolver<2>' in made['op_resolver.h']
  # Every constant that the fixed files name is made.
  fixed = ' '.join(path.read_text() for path in sorted((firmware_folder()).iterdir()))
  named = (
    set(re.findall(r'\bk[A-Z]\w+', fixed))
    - set(re.findall(r'(?:constexpr |<)\w+ (k\w+)', fixed))
    - {'kTfLiteOk'}
  )
  assert not {name for name in named if not re.search(rf'\b{name}\b', ' '.join(made.values()))}


def firmware_folder():
  from importlib import resources

  return resources.files('m3net_jax.deploy') / 'cc'


def test_features_that_the_firmware_cannot_make_are_refused():
  with pytest.raises(UserError, match='n_fft=400.*--n_fft=256'):
    firmware.check(
      dataclasses.replace(SPEC, features=dataclasses.replace(FEATURES, n_fft=400, win_length=0))
    )
  firmware.check(SPEC)


def test_a_bundle_is_whole_or_absent_and_takes_the_place_of_a_bundle_only(tmp_path):
  place = tmp_path / 'made' / 'bundle'
  with pytest.raises(KeyboardInterrupt):
    with bundle.replacing(place) as folder:
      (folder / 'model.json').write_text('1')
      raise KeyboardInterrupt
  assert not list((tmp_path / 'made').iterdir())
  for content in ('1', '2'):
    with bundle.replacing(place) as folder:
      (folder / 'model.json').write_text(content)
  assert (place / 'model.json').read_text() == '2' and [
    each.name for each in place.parent.iterdir()
  ] == ['bundle']
  (tmp_path / 'other').mkdir()
  (tmp_path / 'other' / 'thesis.tex').write_text('mine')
  with pytest.raises(UserError, match='--out_dir=.*other: is not empty and holds no bundle'):
    with bundle.replacing(tmp_path / 'other'):
      pass
  assert (tmp_path / 'other' / 'thesis.tex').read_text() == 'mine'


def test_the_list_of_operators_leaves_out_what_quantises_wrongly():
  assert 'SUM' not in operators.RESOLVER and 'MEAN' not in operators.RESOLVER
