// C++17. The loop of a device that listens: samples, features, network, detector. Link it with frontend.cc,
// model_data.cc, golden.cc and TFLite Micro (of July 2025 or later, which has REVERSE_V2), and write the two functions
// of your board.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "detector_constants.h"
#include "features.h"
#include "frontend.h"
#include "golden.h"
#include "labels.h"
#include "model_data.h"
#include "op_resolver.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/system_setup.h"
#include "tensorflow/lite/schema/schema_generated.h"

// Yours: puts the next `count` samples at m3net::kSampleRate there; false ends the loop.
bool ReadSamples(int16_t* samples, int count);
// Yours: shows what was heard in the window that ends with the newest sample.
void Report(const char* label, float probability);

namespace {

alignas(16) uint8_t arena[m3net::kArenaBytes];
int16_t samples[m3net::kHopLength];
m3net::FrontEnd front_end(m3net::kInputScale, m3net::kInputZeroPoint);
m3net::Detector<m3net::kNumLabels> detector(m3net::kDetector, m3net::kThresholds, m3net::kPowers);

// Feeds the front end `count` samples of golden.h, from its first one on.
void PushGolden(int count) {
  uint32_t state = 1;
  for (int first = 0; first < count; first += m3net::kHopLength) {
    const int size = std::min(m3net::kHopLength, count - first);
    for (int i = 0; i < size; ++i) samples[i] = m3net::GoldenSample(state, first + i);
    front_end.Push(samples, size);
  }
}

// Whether this build makes the stored input of made samples, to a step or two (its floats round as they like), and the
// stored outputs and events, bit for bit: run it once on every new board.
bool SelfTest(tflite::MicroInterpreter& interpreter) {
  int8_t* input = interpreter.input(0)->data.int8;
  front_end.Reset();
  PushGolden(3 * m3net::kHopLength);  // a ring must forget these frames
  PushGolden(m3net::kNumSamples);
  front_end.Fill(input);
  for (int i = 0; i < m3net::kInputBytes; ++i) {
    if (std::abs(input[i] - m3net::kGoldenFrontEnd[i]) > 2) return false;
  }
  for (int i = 0; i < m3net::kNumGolden; ++i) {
    std::memcpy(interpreter.input(0)->data.int8, m3net::kGoldenInputs[i], m3net::kInputBytes);
    if (interpreter.Invoke() != kTfLiteOk) return false;
    if (std::memcmp(interpreter.output(0)->data.int8, m3net::kGoldenOutputs[i], m3net::kNumLabels) != 0) return false;
  }
  return m3net::GoldenEventsAreFound();
}

// Reads `count` samples into the front end; whether there were so many.
bool Listen(int count) {
  while (count > 0) {
    const int size = std::min(m3net::kHopLength, count);
    if (!ReadSamples(samples, size)) return false;
    front_end.Push(samples, size);
    count -= size;
  }
  return true;
}

}  // namespace

int main() {
  tflite::InitializeTarget();
  m3net::OpResolver resolver;
  if (m3net::AddOperators(resolver) != kTfLiteOk) return 1;
  tflite::MicroInterpreter interpreter(tflite::GetModel(m3net::kModel), resolver, arena, m3net::kArenaBytes);
  if (interpreter.AllocateTensors() != kTfLiteOk) return 2;
  if (!SelfTest(interpreter)) return 3;
  front_end.Reset();
  // The first window is a clip; the next ones follow after a hop.
  for (int count = m3net::kNumSamples; Listen(count); count = m3net::kHopFrames * m3net::kHopLength) {
    front_end.Fill(interpreter.input(0)->data.int8);
    if (interpreter.Invoke() != kTfLiteOk) return 4;
    m3net::Event event;
    if (detector.Push(interpreter.output(0)->data.int8, &event)) {
      Report(m3net::kLabels[event.label], static_cast<float>(event.score) / m3net::kOne);
    }
  }
  return 0;
}
