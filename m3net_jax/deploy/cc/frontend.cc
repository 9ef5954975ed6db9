#include "frontend.h"

#include <algorithm>
#include <cmath>

namespace m3net {
namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr int kValues = kNumMels * kNumFrames;

// In place, radix 2. On a Cortex-M put arm_rfft_fast_f32 of CMSIS-DSP here.
void Fourier(float* real, float* imaginary) {
  static float cosines[kFftSize / 2], sines[kFftSize / 2];
  if (cosines[0] == 0.0f) {
    for (int i = 0; i < kFftSize / 2; ++i) {
      cosines[i] = static_cast<float>(std::cos(2 * kPi * i / kFftSize));
      sines[i] = static_cast<float>(-std::sin(2 * kPi * i / kFftSize));
    }
  }
  for (int i = 1, j = 0; i < kFftSize; ++i) {
    int bit = kFftSize / 2;
    for (; j & bit; bit /= 2) j ^= bit;
    j ^= bit;
    if (i < j) {
      std::swap(real[i], real[j]);
      std::swap(imaginary[i], imaginary[j]);
    }
  }
  for (int half = 1; half < kFftSize; half *= 2) {
    for (int first = 0; first < kFftSize; first += 2 * half) {
      for (int i = 0; i < half; ++i) {
        const float c = cosines[i * (kFftSize / 2 / half)], s = sines[i * (kFftSize / 2 / half)];
        const int a = first + i, b = a + half;
        const float r = real[b] * c - imaginary[b] * s, m = real[b] * s + imaginary[b] * c;
        real[b] = real[a] - r;
        imaginary[b] = imaginary[a] - m;
        real[a] += r;
        imaginary[a] += m;
      }
    }
  }
}

// What is subtracted from decibels, and what the difference is divided by.
struct Affine {
  float shift, divide;
};

Affine AffineOf(const float* decibels) {
  if (kNormalisation == kOfTrainingClips) return {kMean, kDeviation};
  if (kNormalisation == kPicture) {
    const auto ends = std::minmax_element(decibels, decibels + kValues);
    return {*ends.first, std::max(*ends.second - *ends.first, kFloor)};
  }
  double sum = 0.0, squares = 0.0;
  for (int i = 0; i < kValues; ++i) sum += decibels[i];
  const double mean = sum / kValues;
  for (int i = 0; i < kValues; ++i) squares += (decibels[i] - mean) * (decibels[i] - mean);
  return {static_cast<float>(mean), std::max(static_cast<float>(std::sqrt(squares / kValues)), kFloor)};
}

// The normalised spectrogram (plane 0), or its first or second difference in time.
float Value(const float* row, Affine affine, int frame, int plane) {
  if (plane == 0) return (row[frame] - affine.shift) / affine.divide;
  float sum = 0.0f;
  for (int tap = 0; tap < kDeltaWidth; ++tap) {
    const int at = std::clamp(frame + tap - kDeltaWidth / 2, 0, kNumFrames - 1);
    sum += kDelta[plane - 1][tap] * (row[at] - affine.shift) / affine.divide;
  }
  return sum;
}

// A pixel of the resized plane; with kRowTaps = kColumnTaps = 1 nothing is resized.
float Pixel(const float* decibels, Affine affine, int row, int column, int plane) {
  float sum = 0.0f;
  for (int r = 0; r < kRowTaps; ++r) {
    const float* values = decibels + (kRowFirst[row] + r) * kNumFrames;
    float line = 0.0f;
    for (int c = 0; c < kColumnTaps; ++c) {
      line += kColumnWeights[column * kColumnTaps + c] * Value(values, affine, kColumnFirst[column] + c, plane);
    }
    sum += kRowWeights[row * kRowTaps + r] * line;
  }
  return sum;
}

int8_t Quantised(float value, float scale, int zero_point) {
  const long whole = std::lround(value / scale) + zero_point;
  return static_cast<int8_t>(std::clamp(whole, -128L, 127L));
}

}  // namespace

void LogMel(const int16_t* samples, float* decibels) {
  static float real[kFftSize], imaginary[kFftSize], magnitude[kFftSize / 2 + 1];
  const int before = kCentred ? kFftSize / 2 : 0;
  float loudest = -1e30f;
  for (int frame = 0; frame < kNumFrames; ++frame) {
    for (int i = 0; i < kFftSize; ++i) {
      const int at = frame * kHopLength + i - before;
      const bool inside = at >= 0 && at < kNumSamples;
      real[i] = inside ? static_cast<float>(samples[at]) / 32768.0f * kWindow[i] : 0.0f;
      imaginary[i] = 0.0f;
    }
    Fourier(real, imaginary);
    for (int bin = 0; bin <= kFftSize / 2; ++bin) {
      magnitude[bin] = real[bin] * real[bin] + imaginary[bin] * imaginary[bin];
    }
    const float* weight = kFilterWeights;
    for (int mel = 0; mel < kNumMels; ++mel) {
      float power = 0.0f;
      for (int i = 0; i < kFilterLength[mel]; ++i) power += *weight++ * magnitude[kFilterFirst[mel] + i];
      const float value = 10.0f * std::log10(std::max(power, kLeastPower)) - kReferenceDecibels;
      decibels[mel * kNumFrames + frame] = value;
      loudest = std::max(loudest, value);
    }
  }
  for (int i = 0; i < kValues; ++i) decibels[i] = std::max(decibels[i], loudest - kRangeDecibels);
}

void FillInput(const float* decibels, float scale, int zero_point, int8_t* input) {
  const Affine affine = AffineOf(decibels);
  for (int row = 0; row < kHeight; ++row) {
    for (int column = 0; column < kWidth; ++column) {
      int8_t* pixel = input + (row * kWidth + column) * kChannels;
      if (kNormalisation == kPicture) {
        const float shade = Pixel(decibels, affine, row, column, 0) * kNumColours;
        const int colour = std::clamp(static_cast<int>(shade), 0, kNumColours - 1);
        for (int c = 0; c < kChannels; ++c) pixel[c] = Quantised(kColours[colour][c % 3], scale, zero_point);
      } else {
        for (int c = 0; c < kChannels; ++c) {
          pixel[c] = Quantised(Pixel(decibels, affine, row, column, c), scale, zero_point);
        }
      }
    }
  }
}

}  // namespace m3net
