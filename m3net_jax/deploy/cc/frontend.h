// From samples to the model's input: the log-Mel spectrogram and the image that the network was trained on.
// Depends on the C++ library alone, and computes what the Python that trained it computes, to rounding.
#ifndef M3NET_FRONTEND_H_
#define M3NET_FRONTEND_H_

#include <cstdint>

#include "features.h"

namespace m3net {

// Samples of one clip at kSampleRate, [kNumSamples], to decibels, [kNumMels][kNumFrames].
void LogMel(const int16_t* samples, float* decibels);

// Decibels to the model's input, [kHeight][kWidth][kChannels]; `scale` and `zero_point` are the input's.
void FillInput(const float* decibels, float scale, int zero_point, int8_t* input);

}  // namespace m3net

#endif  // M3NET_FRONTEND_H_
