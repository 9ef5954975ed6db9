"""The C++ that firmware compiles: constants of one model as text. Pure functions.

What the folder `cc` holds is the same for every model and is copied. `packaging` writes the other
files that a build system reads.
"""

import jax
import jax.numpy as jnp
import numpy as np

from data_prep import mel
from data_prep.errors import UserError
from m3net_jax.deploy import cc_text, operators
from m3net_jax.inference import detector
from m3net_jax.inference.classifier import ModelSpec
from m3net_jax.inference.detector import Event, Settings
from m3net_jax.inference.runtimes import Tensor
from m3net_jax.network import image

_HEADROOM = 1.05  # arena of the firmware / measured arena
_KIB = 1024
GOLDEN_WINDOWS = 400  # of the detector's test


def check(spec: ModelSpec) -> None:
  """Raises UserError if frontend.cc cannot compute these features."""
  features = spec.features
  if features.n_fft & (features.n_fft - 1):
    raise UserError(
      f'n_fft={features.n_fft}: the Fourier transform of the firmware needs a power of two: train '
      f'with --n_fft={1 << features.n_fft.bit_length() - 1}'
    )
  for name, value in (('power', 2.0), ('pad_mode', 'constant')):
    if getattr(features, name) != value:
      raise UserError(f'{name}={getattr(features, name)}: the firmware knows {value} only')


def arena_bytes(measured: int) -> int:
  """The arena of the firmware: 5 % above the measured one, rounded up to KiB; bytes."""
  return -(-int(measured * _HEADROOM) // _KIB) * _KIB


def rings(spec: ModelSpec) -> bool:
  """Whether the firmware computes every frame once: each is a column of the input."""
  return (
    spec.features.streams
    and spec.normalisation == 'train'
    and spec.input_shape[1:] == (spec.features.frames, 1)
  )


def _sines(n_fft: int) -> np.ndarray:
  return np.sin(2 * np.pi * np.arange(n_fft // 4 + 1) / n_fft)


def ram(spec: ModelSpec, measured: int) -> dict[str, int]:
  """Bytes of the static arrays of m3net_listener.cc and frontend.cc, by content.

  A few single numbers, TFLite Micro's interpreter, the stack and the buffer of the microphone are
  not included.

  Args:
    measured: measured bytes of the tensor arena.
  """
  features, float_bytes, sample_bytes, ring = spec.features, 4, 2, rings(spec)
  return {
    'tensor arena': arena_bytes(measured),
    'samples': sample_bytes * (features.n_fft if ring else features.num_samples),
    'spectrogram': (
      features.frames * spec.input_shape[0]
      if ring
      else float_bytes * features.n_mels * features.frames
    ),
    'Fourier transform': float_bytes * (features.n_fft + 2),
    'detector': (2 * detector.MOST_WINDOWS + 4 + 1) * len(spec.classes),
  }


def frame_macs(spec: ModelSpec) -> int:
  """Multiply-adds of one frame in frontend.cc.

  The window, n_fft; the transform of n_fft / 2 complex numbers, 4 for each of its butterflies; 4
  for each pair of bins that is made of it; 2 for each power; 1 for each weight of the filters.
  """
  n_fft, half = spec.features.n_fft, spec.features.n_fft // 2
  butterflies = half // 2 * (half.bit_length() - 1)
  weights = int(mel.tables(spec.features).filters.nnz)
  return n_fft + 4 * butterflies + 4 * (half // 2) + 2 * (half + 1) + weights


def front_end(spec: ModelSpec) -> dict[str, int]:
  """Frames that frontend.cc computes for an answer, and their multiply-adds."""
  frames = settings_of(spec).hop_frames if rings(spec) else spec.features.frames
  return {'frames': frames, 'macs': frames * frame_macs(spec)}


def files(
  spec: ModelSpec,
  model: bytes,
  *,
  arena: int,
  tensors: tuple[Tensor, Tensor],
  operator_names: list[str],
  golden: tuple[np.ndarray, np.ndarray],
) -> dict[str, str]:
  """The files for one int8 model, {name: text}.

  Args:
    arena: measured bytes of the tensor arena.
    tensors: input and output of the model.
    golden: stored inputs [n, height, width, channels] and outputs [n, classes] int8.
  """
  return {
    'model_data.h': _model_header(model, arena, *tensors),
    'model_data.cc': '#include "model_data.h"\n\nnamespace m3net {\n\n'
    'alignas(16) const unsigned char kModel[] = {\n'
    f'{cc_text.lines(f"0x{byte:02x}" for byte in model)}\n}};\n\n}}  // namespace m3net\n',
    'op_resolver.h': _resolver(operator_names),
    'labels.h': _labels(spec.classes),
    'model_features.h': _features(spec),
    'detector_constants.h': _detector(spec, tensors[1]),
    'golden.h': _golden_header(spec, len(golden[0]), len(golden_events(spec, tensors[1]))),
    'golden.cc': _golden(spec, *tensors, *golden),
  }


def golden_samples(count: int) -> np.ndarray:
  """The signal of GoldenSample in golden.h: noise in four steps of loudness, [count] int16."""
  state = np.empty(count, np.uint64)
  value = 1
  for i in range(count):
    value = (value * 1664525 + 1013904223) % 2**32
    state[i] = value
  high = (state >> np.uint64(16)).astype(np.int64) - 32768
  return np.fix(high / (2 << (np.arange(count) * 4 // count) * 2)).astype(np.int16)


def _model_header(model: bytes, arena: int, input_: Tensor, output: Tensor) -> str:
  return cc_text.header(
    'model_data',
    f"""#include <cstddef>

// The int8 network as a .tflite file, and what an interpreter of it needs.
extern const unsigned char kModel[];
constexpr std::size_t kModelBytes = {len(model)};
// TFLite Micro's recording allocator counted {arena} bytes on a 64-bit computer with its portable
// kernels; 5 % are added. Kernels with buffers of their own, such as CMSIS-NN's, may need more:
// then AllocateTensors() fails, and arena_used_bytes() of an interpreter with a larger arena says
// how much.
constexpr std::size_t kArenaBytes = {arena_bytes(arena)};
constexpr int kInputBytes = {int(np.prod(input_.shape))};
// A real value is scale * (stored - zero point).
constexpr float kInputScale = {cc_text.float_literal(input_.scale)};
constexpr int kInputZeroPoint = {input_.zero_point};
constexpr float kOutputScale = {cc_text.float_literal(output.scale)};
constexpr int kOutputZeroPoint = {output.zero_point};
""",
  )


def _resolver(names: list[str]) -> str:
  calls = '\n'.join(
    f'  if (resolver.{operators.RESOLVER[name]}() != kTfLiteOk) return kTfLiteError;'
    for name in names
  )
  return cc_text.header(
    'op_resolver',
    f"""// Exactly the operators of the network.
using OpResolver = tflite::MicroMutableOpResolver<{len(names)}>;

inline TfLiteStatus AddOperators(OpResolver& resolver) {{
{calls}
  return kTfLiteOk;
}}
""",
    includes='#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"\n',
  )


def _labels(classes: tuple[str, ...]) -> str:
  names = '\n'.join(f'    {cc_text.string(name)},' for name in classes)
  return cc_text.header(
    'labels',
    f"""constexpr int kNumLabels = {len(classes)};
constexpr const char* kLabels[kNumLabels] = {{
{names}
}};
""",
  )


def settings_of(spec: ModelSpec) -> Settings:
  """The detector of a bundle: the model's, or one that no data chose."""
  return spec.detector or detector.default(spec.classes, spec.features)


def _detector(spec: ModelSpec, output: Tensor) -> str:
  settings = settings_of(spec)
  chosen = 'chosen on validation streams' if spec.detector else 'not chosen on any data'
  return cc_text.header(
    'detector_constants',
    f"""#include <cstdint>
#include "detector.h"

// For detector.h; {chosen}.
constexpr int kHopFrames = {settings.hop_frames};  // frames from one window to the next
constexpr DetectorSettings kDetector = {{
    {settings.smooth},  // windows in the mean
    {settings.min_windows},  // windows in a row
    {settings.refractory},  // windows of rest
}};
// By class, kOne * p; 0: never reported.
{cc_text.array('uint16_t', 'kThresholds', settings.thresholds, str(len(spec.classes)))}
// 65535 * exp(-kOutputScale * d), d = 0 to 255.
{cc_text.array('uint16_t', 'kPowers', detector.powers(output.scale), '256')}
""",
  )


def golden_outputs(count: int, classes: int) -> np.ndarray:
  """The outputs of GoldenOutputs in golden.h: slow walks, [count, classes] int8."""
  state = 1
  row, rows = [0] * classes, []
  for _ in range(count):
    for k in range(classes):
      state = (state * 1664525 + 1013904223) % 2**32
      step = (state >> 24) % 41 - 20 - ((row[k] + 128) // 8 - 16)
      row[k] = max(-128, min(127, row[k] + step))
    rows.append(list(row))
  return np.array(rows, np.int8)


def _features(spec: ModelSpec) -> str:
  features, tables = spec.features, mel.tables(spec.features)
  height, width, channels = spec.input_shape
  rows, columns = resizing(features.n_mels, height), resizing(features.frames, width)
  picture = channels == 3 and spec.channels == 'magma'
  normalisation = (
    'kPicture'
    if picture
    else {'train': 'kOfTrainingClips', 'clip': 'kOfEachClip'}[spec.normalisation]
  )
  colours = np.asarray(image.colours()) if picture else np.zeros((1, 3))
  deltas = np.stack([image.delta_taps(order) for order in (1, 2)])
  bank = tables.filters
  first = [
    int(bank.indices[start]) if end > start else 0
    for start, end in zip(bank.indptr, bank.indptr[1:])
  ]
  reference = cc_text.float_literal(10 * np.log10(max(features.amin, features.ref)))
  mean, deviation = cc_text.float_literal(spec.mean), cc_text.float_literal(spec.std)
  return cc_text.header(
    'model_features',
    f"""// The clip.
constexpr int kSampleRate = {features.sample_rate};  // Hz
constexpr int kNumSamples = {features.num_samples};  // {features.clip_seconds:g} s

// The log-Mel spectrogram: librosa.feature.melspectrogram, then librosa.power_to_db.
constexpr int kFftSize = {features.n_fft};
constexpr int kHopLength = {features.hop_length};
constexpr int kNumFrames = {features.frames};
// Whether a frame depends on its own samples alone and is one column of the input.
constexpr bool kStreams = {str(rings(spec)).lower()};
// sin(2 pi i / kFftSize), a quarter of a wave.
{cc_text.array('float', 'kSines', _sines(features.n_fft), 'kFftSize / 4 + 1')}
// Zeros around the clip, half a window on each side.
constexpr bool kCentred = {str(features.center).lower()};
// Filters from {features.fmin:g} to {features.fmax:g} Hz.
constexpr int kNumMels = {features.n_mels};
constexpr float kLeastPower = {cc_text.float_literal(features.amin)};
constexpr float kReferenceDecibels = {reference};
// Range below the loudest value of a clip.
constexpr float kRangeDecibels = {cc_text.float_literal(min(features.range_db, 1e30))};
{cc_text.array('float', 'kWindow', tables.window, 'kFftSize')}
// Filter m weighs kFilterLength[m] bins from kFilterFirst[m] on; all weights are in one array.
{cc_text.array('short', 'kFilterFirst', first, 'kNumMels')}
{cc_text.array('short', 'kFilterLength', np.diff(bank.indptr), 'kNumMels')}
{cc_text.array('float', 'kFilterWeights', bank.data)}

// The image; its row 0 is the lowest frequency.
constexpr int kHeight = {height}, kWidth = {width}, kChannels = {channels};
enum Normalisation {{ kOfTrainingClips, kOfEachClip, kPicture }};
constexpr Normalisation kNormalisation = {normalisation};
constexpr float kMean = {mean}, kDeviation = {deviation};  // dB, of the training clips
constexpr float kFloor = {cc_text.float_literal(image.FLOOR)};  // dB, least divisor
// Row r of the image weighs kRowTaps rows of the spectrogram from kRowFirst[r] on; columns too.
{_band('Row', 'kHeight', *rows)}
{_band('Column', 'kWidth', *columns)}
// Channels 1 and 2 if they are differences in time.
constexpr int kDeltaWidth = {deltas.shape[1]};
{cc_text.array('float', 'kDelta', deltas, '2][kDeltaWidth')}
// The colours of a picture from its lowest to its highest value; one black if it has none.
constexpr int kNumColours = {len(colours)};
{cc_text.array('float', 'kColours', colours, 'kNumColours][3')}
""",
  )


def resizing(size: int, to: int) -> tuple[np.ndarray, np.ndarray]:
  """The weights that resize an axis: first positions [to] and weights [to, taps]."""
  if size == to:
    return np.arange(to), np.ones((to, 1), np.float32)
  matrix = np.asarray(jax.image.resize(jnp.eye(size), (to, size), 'linear'))
  nonzero = matrix != 0
  taps = int((size - nonzero[:, ::-1].argmax(1) - nonzero.argmax(1)).max())
  first = np.minimum(nonzero.argmax(1), size - taps)
  return first, np.stack([row[start : start + taps] for row, start in zip(matrix, first)])


def _band(name: str, size: str, first: np.ndarray, weights: np.ndarray) -> str:
  return (
    f'constexpr int k{name}Taps = {weights.shape[1]};\n'
    + cc_text.array('short', f'k{name}First', first, size)
    + '\n'
    + cc_text.array('float', f'k{name}Weights', weights.ravel(), f'{size} * k{name}Taps')
  )


def _golden_header(spec: ModelSpec, count: int, events: int) -> str:
  return cc_text.header(
    'golden',
    f"""#include <cstdint>

// Stored inputs and outputs of the network for test clips, one per class that it answers, as TFLite
// Micro computes them on a computer.
constexpr int kNumGolden = {count};
extern const int8_t kGoldenInputs[kNumGolden][{int(np.prod(spec.input_shape))}];
extern const int8_t kGoldenOutputs[kNumGolden][{len(spec.classes)}];

// A signal to test frontend.cc: `state` is 1 before the first sample, i = 0. kGoldenFrontEnd is the
// input that frontend.cc must compute from it; rounding may change a value by 1.
inline int16_t GoldenSample(uint32_t& state, int i) {{
  state = state * 1664525u + 1013904223u;
  const int32_t noise = static_cast<int32_t>(state >> 16) - 32768;
  const int64_t step = static_cast<int64_t>(i) * 4 / {spec.features.num_samples};
  return static_cast<int16_t>(noise / (2 << step * 2));
}}
extern const int8_t kGoldenFrontEnd[{int(np.prod(spec.input_shape))}];

// Outputs to test detector.h: `state` is 1 and `row` 0 before the first window.
inline void GoldenOutputs(uint32_t& state, int8_t* row) {{
  for (int k = 0; k < {len(spec.classes)}; ++k) {{
    state = state * 1664525u + 1013904223u;
    const int back = (row[k] + 128) / 8 - 16;
    const int value = row[k] + static_cast<int>((state >> 24) % 41) - 20 - back;
    row[k] = static_cast<int8_t>(value < -128 ? -128 : value > 127 ? 127 : value);
  }}
}}
struct GoldenEvent {{
  int window, label, score;
}};
// The events of these windows with kDetector and kPowers of detector_constants.h, but with every
// threshold a half, kOne / 2.
constexpr int kGoldenWindows = {GOLDEN_WINDOWS}, kNumGoldenEvents = {events};
extern const GoldenEvent kGoldenEvents[];
bool GoldenEventsAreFound();
""",
  )


def golden_events(spec: ModelSpec, output: Tensor) -> list[Event]:
  """The events of `golden_outputs` with the detector of the bundle, every threshold a half."""
  classes = len(spec.classes)
  settings = settings_of(spec)._replace(thresholds=(detector.ONE // 2,) * classes)
  stored = detector.of_stored(golden_outputs(GOLDEN_WINDOWS, classes), output.scale)
  return detector.events(stored, settings)


def _golden(
  spec: ModelSpec, input_: Tensor, output: Tensor, inputs: np.ndarray, outputs: np.ndarray
) -> str:
  samples = golden_samples(spec.features.num_samples).astype(np.float32) / 32768
  front_end = input_.stored(spec.images(mel.log_mel(samples, spec.features)[None]))
  found = golden_events(spec, output)
  nested = lambda values: '\n'.join(
    f'{{\n{cc_text.lines(map(str, row.ravel()))}\n}},' for row in values
  )
  return f"""#include "golden.h"

#include "detector_constants.h"

namespace m3net {{

const int8_t kGoldenInputs[kNumGolden][{inputs[0].size}] = {{
{nested(inputs)}
}};

const int8_t kGoldenOutputs[kNumGolden][{outputs[0].size}] = {{
{nested(outputs)}
}};

const int8_t kGoldenFrontEnd[{front_end.size}] = {{
{cc_text.lines(map(str, front_end.ravel()))}
}};

const GoldenEvent kGoldenEvents[] = {{
{cc_text.lines(f'{{{event.window}, {event.label}, {event.score}}}' for event in found)}
}};

bool GoldenEventsAreFound() {{
  uint16_t half[{outputs.shape[1]}];
  for (uint16_t& threshold : half) threshold = kOne / 2;
  Detector<{outputs.shape[1]}> detector(kDetector, half, kPowers);
  uint32_t state = 1;
  int8_t row[{outputs.shape[1]}] = {{}};
  int found = 0;
  Event event;
  for (int window = 0; window < kGoldenWindows; ++window) {{
    GoldenOutputs(state, row);
    if (!detector.Push(row, &event)) continue;
    if (found == kNumGoldenEvents) return false;
    const GoldenEvent& golden = kGoldenEvents[found++];
    const bool equal = golden.label == event.label && golden.score == event.score;
    if (golden.window != window || !equal) return false;
  }}
  return found == kNumGoldenEvents;
}}

}}  // namespace m3net
"""
