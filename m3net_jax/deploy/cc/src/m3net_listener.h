// A device that listens: samples, features, network, detector. There is one listener in a program; all its memory is
// static.
#ifndef M3NET_LISTENER_H_
#define M3NET_LISTENER_H_

#include <cstdint>

#include "detector_constants.h"
#include "model_features.h"

namespace m3net {

// Samples from one window to the next. The first window ends with sample kNumSamples.
constexpr int kHopSamples = kHopFrames * kHopLength;

// What was heard in the window that ends with the sample before number `end`, counted from 0.
struct Heard {
  const char* label;
  float probability;
  uint64_t end;
};

// Prepares the network and tests this build on golden.h; call it once, before Push. Returns nullptr, or what is wrong.
const char* Begin();

// Takes the next samples at kSampleRate, however many, and calls `report` for all that is heard in them. False if the
// network cannot be computed.
bool Push(const int16_t* samples, int count, void (*report)(const Heard& heard));

}  // namespace m3net

#endif  // M3NET_LISTENER_H_
