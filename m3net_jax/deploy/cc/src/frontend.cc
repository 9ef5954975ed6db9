#include "frontend.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#ifdef M3NET_CMSIS_DSP
#include "arm_math.h"
#endif

namespace m3net {
namespace {

constexpr int kValues = kNumMels * kNumFrames;
constexpr int kHalf = kFftSize / 2;

// The frame that is transformed, and then its powers. With M3NET_CMSIS_DSP the transform is that of CMSIS-DSP.
float workspace[kFftSize + 2];

#ifdef M3NET_CMSIS_DSP

// The powers, [kHalf + 1], of the frame in workspace, into workspace.
void Powers() {
  static arm_rfft_fast_instance_f32 instance;
  static float spectrum[kFftSize];
  if (instance.fftLenRFFT == 0) arm_rfft_fast_init_f32(&instance, kFftSize);
  arm_rfft_fast_f32(&instance, workspace, spectrum, 0);
  workspace[0] = spectrum[0] * spectrum[0];
  workspace[kHalf] = spectrum[1] * spectrum[1];
  for (int bin = 1; bin < kHalf; ++bin) {
    const float real = spectrum[2 * bin], imaginary = spectrum[2 * bin + 1];
    workspace[bin] = real * real + imaginary * imaginary;
  }
}

#else

// cos and sin of 2 pi i / kFftSize, 0 <= i <= kHalf, from a quarter of a wave.
float Cosine(int i) { return i <= kFftSize / 4 ? kSines[kFftSize / 4 - i] : -kSines[i - kFftSize / 4]; }
float Sine(int i) { return i <= kFftSize / 4 ? kSines[i] : kSines[kHalf - i]; }

// The frame's even samples are the real parts, its odd ones the imaginary parts of kHalf complex numbers. Their
// transform (radix 2, in place) holds that of the frame.
void Powers() {
  float* z = workspace;
  for (int i = 1, j = 0; i < kHalf; ++i) {
    int bit = kHalf / 2;
    for (; j & bit; bit /= 2) j ^= bit;
    j ^= bit;
    if (i < j) {
      std::swap(z[2 * i], z[2 * j]);
      std::swap(z[2 * i + 1], z[2 * j + 1]);
    }
  }
  for (int half = 1; half < kHalf; half *= 2) {
    for (int i = 0; i < half; ++i) {
      const float c = Cosine(i * (kHalf / half)), s = -Sine(i * (kHalf / half));
      for (int a = i; a < kHalf; a += 2 * half) {
        float *first = z + 2 * a, *second = z + 2 * (a + half);
        const float r = second[0] * c - second[1] * s, m = second[0] * s + second[1] * c;
        second[0] = first[0] - r;
        second[1] = first[1] - m;
        first[0] += r;
        first[1] += m;
      }
    }
  }
  const float sum = z[0] + z[1], difference = z[0] - z[1];
  // Bins k and kHalf - k come from the numbers k and kHalf - k, so both are replaced together.
  z[0] = sum * sum;
  z[2 * kHalf] = difference * difference;
  for (int k = 1; k <= kHalf / 2; ++k) {
    float *a = z + 2 * k, *b = z + 2 * (kHalf - k);
    const float even_r = 0.5f * (a[0] + b[0]), even_i = 0.5f * (a[1] - b[1]);
    const float odd_r = 0.5f * (a[1] + b[1]), odd_i = 0.5f * (b[0] - a[0]);
    const float c = Cosine(k), s = Sine(k);
    const float turned_r = odd_r * c + odd_i * s, turned_i = odd_i * c - odd_r * s;
    const float low_r = even_r + turned_r, low_i = even_i + turned_i;
    const float high_r = even_r - turned_r, high_i = even_i - turned_i;
    a[0] = low_r * low_r + low_i * low_i;
    b[0] = high_r * high_r + high_i * high_i;
  }
  for (int bin = 1; bin <= kHalf; ++bin) z[bin] = z[2 * bin];
}

#endif  // M3NET_CMSIS_DSP

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
  // Row by row, so that single precision is enough.
  float sum = 0.0f, squares = 0.0f;
  for (int row = 0; row < kNumMels; ++row) {
    const float* values = decibels + row * kNumFrames;
    sum += std::accumulate(values, values + kNumFrames, 0.0f);
  }
  const float mean = sum / kValues;
  for (int row = 0; row < kNumMels; ++row) {
    float of_row = 0.0f;
    for (int frame = 0; frame < kNumFrames; ++frame) {
      const float difference = decibels[row * kNumFrames + frame] - mean;
      of_row += difference * difference;
    }
    squares += of_row;
  }
  return {mean, std::max(std::sqrt(squares / kValues), kFloor)};
}

template <typename Number>
Number Clamped(Number value, Number least, Number most) {
  return std::min(std::max(value, least), most);
}

// The normalised spectrogram (plane 0), or its first or second difference in time.
float Value(const float* row, Affine affine, int frame, int plane) {
  if (plane == 0) return (row[frame] - affine.shift) / affine.divide;
  float sum = 0.0f;
  for (int tap = 0; tap < kDeltaWidth; ++tap) {
    const int at = Clamped(frame + tap - kDeltaWidth / 2, 0, kNumFrames - 1);
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
  return static_cast<int8_t>(Clamped(whole, -128L, 127L));
}

}  // namespace

void Frame(const int16_t* samples, float* decibels, int stride) {
  for (int i = 0; i < kFftSize; ++i) workspace[i] = static_cast<float>(samples[i]) / 32768.0f * kWindow[i];
  Powers();
  const float* weight = kFilterWeights;
  for (int mel = 0; mel < kNumMels; ++mel) {
    float power = 0.0f;
    for (int i = 0; i < kFilterLength[mel]; ++i) power += *weight++ * workspace[kFilterFirst[mel] + i];
    decibels[mel * stride] = 10.0f * std::log10(std::max(power, kLeastPower)) - kReferenceDecibels;
  }
}

void LogMel(const int16_t* samples, float* decibels) {
  const int before = kCentred ? kHalf : 0;
  int16_t part[kFftSize];
  for (int frame = 0; frame < kNumFrames; ++frame) {
    const int first = frame * kHopLength - before;
    if (first >= 0 && first + kFftSize <= kNumSamples) {
      Frame(samples + first, decibels + frame, kNumFrames);
      continue;
    }
    for (int i = 0; i < kFftSize; ++i) {
      part[i] = first + i >= 0 && first + i < kNumSamples ? samples[first + i] : int16_t{0};
    }
    Frame(part, decibels + frame, kNumFrames);
  }
  const float least = *std::max_element(decibels, decibels + kValues) - kRangeDecibels;
  for (int i = 0; i < kValues; ++i) decibels[i] = std::max(decibels[i], least);
}

void FillInput(const float* decibels, float scale, int zero_point, int8_t* input) {
  const Affine affine = AffineOf(decibels);
  for (int row = 0; row < kHeight; ++row) {
    for (int column = 0; column < kWidth; ++column) {
      int8_t* pixel = input + (row * kWidth + column) * kChannels;
      if (kNormalisation == kPicture) {
        const float shade = Pixel(decibels, affine, row, column, 0) * kNumColours;
        const int colour = Clamped(static_cast<int>(shade), 0, kNumColours - 1);
        for (int c = 0; c < kChannels; ++c) pixel[c] = Quantised(kColours[colour][c % 3], scale, zero_point);
      } else {
        for (int c = 0; c < kChannels; ++c) {
          pixel[c] = Quantised(Pixel(decibels, affine, row, column, c), scale, zero_point);
        }
      }
    }
  }
}

void Window::Reset() { std::fill(samples_, samples_ + kNumSamples, int16_t{0}); }

void Window::Push(const int16_t* samples, int count) {
  const int kept = std::max(0, kNumSamples - count);
  std::copy(samples_ + kNumSamples - kept, samples_ + kNumSamples, samples_);
  std::copy(samples + count - (kNumSamples - kept), samples + count, samples_ + kept);
}

void Window::Fill(int8_t* input) {
  LogMel(samples_, decibels_);
  FillInput(decibels_, scale_, zero_point_, input);
}

void Ring::Reset() {
  std::fill(columns_[0], columns_[0] + kNumFrames * kHeight, int8_t{0});
  filled_ = next_ = 0;
}

void Ring::Push(const int16_t* samples, int count) {
  while (count > 0) {
    const int taken = std::min(count, kFftSize - filled_);
    std::copy(samples, samples + taken, samples_ + filled_);
    samples += taken;
    count -= taken;
    filled_ += taken;
    if (filled_ < kFftSize) return;
    float decibels[kNumMels];
    Frame(samples_, decibels, 1);
    for (int row = 0; row < kHeight; ++row) {
      float sum = 0.0f;
      for (int r = 0; r < kRowTaps; ++r) {
        sum += kRowWeights[row * kRowTaps + r] * (decibels[kRowFirst[row] + r] - kMean) / kDeviation;
      }
      columns_[next_][row] = Quantised(sum, scale_, zero_point_);
    }
    next_ = next_ + 1 == kNumFrames ? 0 : next_ + 1;
    filled_ = kFftSize - kHopLength;
    std::copy(samples_ + kHopLength, samples_ + kFftSize, samples_);
  }
}

void Ring::Fill(int8_t* input) const {
  for (int column = 0; column < kNumFrames; ++column) {
    const int8_t* values = columns_[(next_ + column) % kNumFrames];
    for (int row = 0; row < kHeight; ++row) input[row * kNumFrames + column] = values[row];
  }
}

}  // namespace m3net
