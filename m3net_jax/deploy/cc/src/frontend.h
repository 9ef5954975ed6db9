// From samples to the model's input: the log-Mel spectrogram and the image that the network was trained on.
// Depends on the C++ library alone, and computes what the Python that trained it computes, to rounding. All floats are
// single precision.
#ifndef M3NET_FRONTEND_H_
#define M3NET_FRONTEND_H_

#include <cstdint>
#include <type_traits>

#include "model_features.h"

namespace m3net {

// One frame of samples, [kFftSize], to decibels, [kNumMels], without the range below a clip's loudest value. Element m
// goes to decibels[m * stride].
void Frame(const int16_t* samples, float* decibels, int stride);

// Samples of one clip at kSampleRate, [kNumSamples], to decibels, [kNumMels][kNumFrames].
void LogMel(const int16_t* samples, float* decibels);

// Decibels to the model's input, [kHeight][kWidth][kChannels]; `scale` and `zero_point` are the input's.
void FillInput(const float* decibels, float scale, int zero_point, int8_t* input);

// The newest clip of a stream, for every model: it keeps the samples, and computes all frames for every answer.
class Window {
 public:
  Window(float scale, int zero_point) : scale_(scale), zero_point_(zero_point) {}

  // Forgets all samples.
  void Reset();

  // Takes the next samples.
  void Push(const int16_t* samples, int count);

  // The input for the newest kNumSamples samples (zeros before the first).
  void Fill(int8_t* input);

 private:
  int16_t samples_[kNumSamples] = {};
  float decibels_[kNumMels * kNumFrames];
  float scale_;
  int zero_point_;
};

// The same for models whose frames depend on their own samples alone (kStreams): it keeps the samples of a frame and
// the stored columns of the input, and computes every frame once.
class Ring {
 public:
  Ring(float scale, int zero_point) : scale_(scale), zero_point_(zero_point) {}

  void Reset();

  void Push(const int16_t* samples, int count);

  // The input for the newest kNumFrames frames.
  void Fill(int8_t* input) const;

 private:
  int16_t samples_[kFftSize];
  int8_t columns_[kNumFrames][kHeight] = {};
  float scale_;
  int zero_point_;
  int filled_ = 0;  // samples
  int next_ = 0;    // column
};

using FrontEnd = std::conditional_t<kStreams, Ring, Window>;

}  // namespace m3net

#endif  // M3NET_FRONTEND_H_
