#include "m3net_listener.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "frontend.h"
#include "golden.h"
#include "labels.h"
#include "model_data.h"
#include "op_resolver.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/system_setup.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace m3net {
namespace {

alignas(16) uint8_t arena[kArenaBytes];
FrontEnd front_end(kInputScale, kInputZeroPoint);
Detector<kNumLabels> detector(kDetector, kThresholds, kPowers);
tflite::MicroInterpreter* network;
int missing = kNumSamples;  // samples until the next window ends
uint64_t heard = 0;         // samples

// Feeds the front end `count` samples of golden.h, from its first one on.
void PushGolden(int count) {
  int16_t samples[64];
  uint32_t state = 1;
  for (int first = 0; first < count; first += 64) {
    const int size = std::min(64, count - first);
    for (int i = 0; i < size; ++i) samples[i] = GoldenSample(state, first + i);
    front_end.Push(samples, size);
  }
}

// Whether this build makes the stored input of made samples, to a step or two: its floats round as they like.
bool FeaturesAreRight() {
  int8_t* input = network->input(0)->data.int8;
  PushGolden(3 * kHopLength);  // a ring must forget these frames
  PushGolden(kNumSamples);
  front_end.Fill(input);
  for (int i = 0; i < kInputBytes; ++i) {
    if (std::abs(input[i] - kGoldenFrontEnd[i]) > 2) return false;
  }
  return true;
}

// Whether it makes the stored outputs, bit for bit.
bool NetworkIsRight() {
  for (int i = 0; i < kNumGolden; ++i) {
    std::memcpy(network->input(0)->data.int8, kGoldenInputs[i], kInputBytes);
    if (network->Invoke() != kTfLiteOk) return false;
    if (std::memcmp(network->output(0)->data.int8, kGoldenOutputs[i], kNumLabels) != 0) return false;
  }
  return true;
}

}  // namespace

const char* Begin() {
  tflite::InitializeTarget();
  static OpResolver resolver;
  if (network == nullptr && AddOperators(resolver) != kTfLiteOk) return "an operator is missing";
  static tflite::MicroInterpreter interpreter(tflite::GetModel(kModel), resolver, arena, kArenaBytes);
  network = &interpreter;
  if (network->AllocateTensors() != kTfLiteOk) return "no room for the tensors: make kArenaBytes larger";
  front_end.Reset();
  if (!FeaturesAreRight()) return "self test: the features differ from golden.cc";
  if (!NetworkIsRight()) return "self test: the outputs of the network differ from golden.cc";
  if (!GoldenEventsAreFound()) return "self test: the events differ from golden.cc";
  front_end.Reset();
  return nullptr;
}

bool Push(const int16_t* samples, int count, void (*report)(const Heard& heard)) {
  while (count > 0) {
    const int size = std::min(missing, count);
    front_end.Push(samples, size);
    samples += size;
    count -= size;
    missing -= size;
    heard += static_cast<uint64_t>(size);
    if (missing > 0) continue;
    missing = kHopSamples;
    front_end.Fill(network->input(0)->data.int8);
    if (network->Invoke() != kTfLiteOk) return false;
    Event event;
    if (detector.Push(network->output(0)->data.int8, &event)) {
      report({kLabels[event.label], static_cast<float>(event.score) / kOne, heard});
    }
  }
  return true;
}

}  // namespace m3net
