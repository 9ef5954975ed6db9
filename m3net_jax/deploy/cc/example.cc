// C++17. The loop of a device that listens: samples, features, network, label. Link it with frontend.cc, model_data.cc,
// golden.cc and TFLite Micro (of July 2025 or later, which has REVERSE_V2), and write the two functions of your board.
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "features.h"
#include "frontend.h"
#include "golden.h"
#include "labels.h"
#include "model_data.h"
#include "op_resolver.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/system_setup.h"
#include "tensorflow/lite/schema/schema_generated.h"

// Yours: puts the newest m3net::kNumSamples samples at m3net::kSampleRate there; false ends the loop.
bool ReadSamples(int16_t* samples);
// Yours: shows what was heard.
void Report(const char* label, float probability);

namespace {

alignas(16) uint8_t arena[m3net::kArenaBytes];
int16_t samples[m3net::kNumSamples];
float decibels[m3net::kNumMels * m3net::kNumFrames];

// Whether this build makes the stored input of made samples, to a step or two (its floats round as they like), and
// the stored outputs, bit for bit: run it once on every new board.
bool SelfTest(tflite::MicroInterpreter& interpreter) {
  uint32_t state = 1;
  for (int i = 0; i < m3net::kNumSamples; ++i) samples[i] = m3net::GoldenSample(state, i);
  int8_t* input = interpreter.input(0)->data.int8;
  m3net::LogMel(samples, decibels);
  m3net::FillInput(decibels, m3net::kInputScale, m3net::kInputZeroPoint, input);
  for (int i = 0; i < m3net::kInputBytes; ++i) {
    if (std::abs(input[i] - m3net::kGoldenFrontEnd[i]) > 2) return false;
  }
  for (int i = 0; i < m3net::kNumGolden; ++i) {
    std::memcpy(interpreter.input(0)->data.int8, m3net::kGoldenInputs[i], m3net::kInputBytes);
    if (interpreter.Invoke() != kTfLiteOk) return false;
    if (std::memcmp(interpreter.output(0)->data.int8, m3net::kGoldenOutputs[i], m3net::kNumLabels) != 0) return false;
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
  while (ReadSamples(samples)) {
    m3net::LogMel(samples, decibels);
    m3net::FillInput(decibels, m3net::kInputScale, m3net::kInputZeroPoint, interpreter.input(0)->data.int8);
    if (interpreter.Invoke() != kTfLiteOk) return 4;
    const int8_t* logits = interpreter.output(0)->data.int8;
    int best = 0;
    for (int i = 1; i < m3net::kNumLabels; ++i) {
      if (logits[i] > logits[best]) best = i;
    }
    float sum = 0.0f;  // of the softmax
    for (int i = 0; i < m3net::kNumLabels; ++i) sum += std::exp((logits[i] - logits[best]) * m3net::kOutputScale);
    Report(m3net::kLabels[best], 1.0f / sum);
  }
  return 0;
}
