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
from tests.deploy import boards

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
  bundle.write_sources(tmp_path, sources(spec), {})
  (tmp_path / 'program.cc').write_text(PROGRAM)
  subprocess.run(
    [
      'g++',
      '-std=c++17',
      '-O1',
      '-Wall',
      '-Wextra',
      '-Werror',
      '-Isrc',
      '-o',
      'program',
      'program.cc',
      'src/frontend.cc',
      'src/golden.cc',
      'src/model_data.cc',
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
def test_c_programs_find_the_headers_of_libc_beside_ours(tmp_path):
  bundle.write_sources(tmp_path, sources(SPEC), {})
  (tmp_path / 'program.c').write_text(
    '#include <stdio.h>\nint main(void) { return puts("c") < 0; }\n'
  )
  subprocess.run(['gcc', '-Isrc', 'program.c', '-o', 'program'], cwd=tmp_path, check=True)


def test_constants_of_the_headers():
  made = sources(SPEC)
  number = lambda name: float(
    re.search(rf'\b{name} = (-?[\d.e-]+)', made['model_features.h'] + made['model_data.h'])[1]
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
  fixed = ' '.join(path.read_text() for path in sorted((firmware_folder() / 'src').iterdir()))
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
      (folder / 'model_int8.tflite').touch()
  assert (place / 'model.json').read_text() == '2' and [
    each.name for each in place.parent.iterdir()
  ] == ['bundle']
  (tmp_path / 'other').mkdir()
  (tmp_path / 'other' / 'thesis.tex').write_text('mine')
  for _ in range(2):
    with pytest.raises(UserError, match='--out_dir=.*other: is not empty and holds no bundle'):
      with bundle.replacing(tmp_path / 'other'):
        pass
    (tmp_path / 'other' / 'model.json').touch()  # others use this name too
  assert (tmp_path / 'other' / 'thesis.tex').read_text() == 'mine'


def test_the_list_of_operators_leaves_out_what_quantises_wrongly():
  assert 'SUM' not in operators.RESOLVER and 'MEAN' not in operators.RESOLVER


RING = """
#include <cstdio>
#include "frontend.h"
#include "model_data.h"

int main(int, char** arguments) {
  using namespace m3net;
  const int chunk = std::atoi(arguments[1]);
  static_assert(std::is_same_v<FrontEnd, Ring> == RINGS);
  static FrontEnd front_end(kInputScale, kInputZeroPoint);
  int16_t samples[1000];
  int8_t input[kInputBytes];
  for (int pass = 0; pass < 2; ++pass) {
    std::rewind(stdin);
    front_end.Reset();
    std::size_t count;
    while ((count = std::fread(samples, 2, chunk, stdin)) > 0) front_end.Push(samples, count);
    front_end.Fill(input);
    std::fwrite(input, 1, kInputBytes, stdout);
  }
}
"""


def test_multiply_adds_of_a_frame_are_those_of_its_loops():
  """Counted by a transform that is written out, for 16 samples: a window, 8 complex numbers."""
  features = Features(1000, 0.1, 16, 8, 3)
  spec = dataclasses.replace(SPEC, features=features)
  count, half = 16, 1
  while half < 8:
    count += sum(4 for _ in range(half) for _ in range(0, 8, 2 * half))
    half *= 2
  count += 4 * 4 + 2 * 9 + int((mel.tables(features).filters.toarray() != 0).sum())
  assert firmware.frame_macs(spec) == count
  assert firmware.front_end(spec) == {'frames': features.frames, 'macs': features.frames * count}
  ring = dataclasses.replace(features, center=False, top_db=0.0)
  spec = dataclasses.replace(spec, features=ring, input_shape=(3, ring.frames, 1))
  assert firmware.front_end(spec)['frames'] == firmware.settings_of(spec).hop_frames < ring.frames


@needs_compiler
@pytest.mark.parametrize('rows', [32, 20])
def test_a_ring_holds_the_newest_window(tmp_path, rows):
  """In whatever portions the samples come; only rows may be resized."""
  features = dataclasses.replace(FEATURES, center=False, top_db=0.0, amin=1e-8)
  width = features.frames
  ring = dataclasses.replace(SPEC, features=features, input_shape=(rows, width, 1))
  whole = dataclasses.replace(ring, normalisation='clip')
  assert firmware.rings(ring) and not firmware.rings(whole)
  for changed in ({'features': FEATURES}, {'input_shape': (32, 40, 1)}):
    assert not firmware.rings(dataclasses.replace(ring, **changed))
  samples = sound(3 * features.num_samples)
  for name, spec in (('ring', ring), ('whole', whole)):
    folder = tmp_path / name
    bundle.write_sources(folder, sources(spec), {})
    (folder / 'program.cc').write_text(
      '#include <cstdlib>\n' + RING.replace('RINGS', str(name == 'ring').lower())
    )
    subprocess.run(
      ['g++', '-std=c++17', '-O1', '-Wall', '-Wextra', '-Wdouble-promotion', '-Werror']
      + ['-Isrc', '-o', 'program', 'program.cc', 'src/frontend.cc', 'src/model_data.cc'],
      cwd=folder,
      check=True,
    )
    for count in (features.num_samples, 2 * features.num_samples + 17, 9001):
      # Frames begin at whole hops of the stream; other windows end with it.
      last = (
        features.num_samples
        if name == 'whole'
        else features.n_fft + (features.frames - 1) * features.hop_length
      )
      step = features.hop_length if name == 'ring' else 1
      start = (count - last) // step * step
      window = samples[start : start + features.num_samples].astype(np.float32) / 32768
      expected = INPUT.stored(spec.images(mel.log_mel(window, features)[None]))[0]
      (folder / 'samples').write_bytes(samples[:count].tobytes())
      for chunk in (1, features.hop_length, 1000):
        with open(folder / 'samples', 'rb') as file:
          said = subprocess.run(
            [folder / 'program', str(chunk)], stdin=file, capture_output=True, check=True
          ).stdout
        got = np.frombuffer(said, np.int8).reshape(2, rows, width).astype(int)
        np.testing.assert_array_equal(got[0], got[1])  # Reset() forgets all
        assert np.abs(got[0] - expected[..., 0]).max() <= 1
        assert (got[0] != expected[..., 0]).mean() < 0.01


@pytest.mark.skipif(not shutil.which('arm-none-eabi-g++'), reason='needs arm-none-eabi-g++')
@pytest.mark.parametrize('streams', [True, False])
def test_our_parts_compile_for_a_cortex_m(tmp_path, streams):
  features = dataclasses.replace(FEATURES, center=False, top_db=0.0) if streams else FEATURES
  spec = dataclasses.replace(SPEC, features=features, input_shape=(32, features.frames, 1))
  bundle.write_sources(tmp_path, sources(spec), {})
  boards.tflite_micro(tmp_path, int(np.prod(spec.input_shape)), 3)
  (tmp_path / 'detector.cc').write_text(
    '#include "detector_constants.h"\ntemplate class m3net::Detector<3>;\n'
  )
  boards.compile_all(
    ['arm-none-eabi-g++', '-mcpu=cortex-m4', '-mthumb', '-mfloat-abi=hard', '-mfpu=fpv4-sp-d16']
    + ['-Os', '-fno-exceptions', '-fno-rtti', '-Wdouble-promotion', '-Wfloat-conversion'],
    [tmp_path, tmp_path / 'src'],
    [tmp_path / 'detector.cc', *sorted((tmp_path / 'src').glob('*.cc'))],
    tmp_path,
  )
  symbols = subprocess.run(
    ['arm-none-eabi-nm', '-u', 'frontend.o', 'detector.o', 'm3net_listener.o'],
    cwd=tmp_path,
    capture_output=True,
    text=True,
    check=True,
  ).stdout
  # Nothing of double precision, which a Cortex-M4 would compute in software.
  assert not re.findall(r'__aeabi_(?:d\w+|f2d)', symbols)
