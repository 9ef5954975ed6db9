// Reads a recording from standard input, WAV or raw samples (16 bits, little-endian, one channel, the model's rate), and
// prints what is heard: seconds, label and probability, with tabs between.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "m3net_listener.h"

namespace {

int Fail(const char* what) {
  std::fprintf(stderr, "error: %s\n", what);
  return 1;
}

bool Read(uint8_t* bytes, uint32_t count) { return std::fread(bytes, 1, count, stdin) == count; }

uint32_t Number(const uint8_t* bytes, int count) {
  uint32_t value = 0;
  while (count-- > 0) value = value << 8 | bytes[count];
  return value;
}

// Reads a WAV header behind its first four bytes, up to the samples; `left` are their bytes. Returns nullptr, or what is
// wrong.
const char* ReadHeader(uint32_t* left) {
  uint8_t bytes[16];
  if (!Read(bytes, 8) || std::memcmp(bytes + 4, "WAVE", 4) != 0) return "standard input: a RIFF file, but not WAV";
  bool known = false;
  while (Read(bytes, 8)) {
    uint32_t size = Number(bytes + 4, 4);
    if (std::memcmp(bytes, "data", 4) == 0) {
      *left = size == 0 ? UINT32_MAX : size;  // a program that wrote to a pipe did not know it
      return known ? nullptr : "standard input: WAV without a format before its samples";
    }
    size += size & 1;
    if (std::memcmp(bytes, "fmt ", 4) == 0 && size >= 16) {
      if (!Read(bytes, 16)) break;
      const uint32_t format = Number(bytes, 2);
      if ((format != 1 && format != 0xfffe) || Number(bytes + 14, 2) != 16) {
        return "standard input: give WAV with samples of 16 bits (PCM)";
      }
      if (Number(bytes + 2, 2) != 1) return "standard input: give one channel";
      if (Number(bytes + 4, 4) != m3net::kSampleRate) {
        static char text[80];
        std::snprintf(text, sizeof text, "standard input: %lu Hz: give %d Hz, the model's rate",
                      static_cast<unsigned long>(Number(bytes + 4, 4)), m3net::kSampleRate);
        return text;
      }
      known = true;
      size -= 16;
    }
    while (size-- > 0) {
      if (std::getchar() == EOF) break;
    }
  }
  return "standard input: WAV without samples";
}

void Report(const m3net::Heard& heard) {
  std::printf("%.3f\t%s\t%.4f\n", static_cast<double>(heard.end) / m3net::kSampleRate, heard.label,
              static_cast<double>(heard.probability));
  std::fflush(stdout);
}

}  // namespace

int main() {
  if (const char* wrong = m3net::Begin()) return Fail(wrong);
  uint8_t bytes[512];
  uint32_t left = UINT32_MAX;  // bytes
  std::size_t size = std::fread(bytes, 1, 4, stdin);
  if (size == 4 && std::memcmp(bytes, "RIFF", 4) == 0) {
    if (const char* wrong = ReadHeader(&left)) return Fail(wrong);
    size = 0;
  }
  int64_t samples = 0;
  while (true) {
    const std::size_t wanted = left < sizeof bytes ? left : sizeof bytes;
    if (size < wanted) size += std::fread(bytes + size, 1, wanted - size, stdin);
    if (size < 2) break;
    int16_t values[sizeof bytes / 2];
    const int count = static_cast<int>(size / 2);
    for (int i = 0; i < count; ++i) values[i] = static_cast<int16_t>(Number(bytes + 2 * i, 2));
    if (!m3net::Push(values, count, Report)) return Fail("the network cannot be computed");
    samples += count;
    if (left != UINT32_MAX) left -= static_cast<uint32_t>(size);
    size = 0;
  }
  if (samples < m3net::kNumSamples) {
    char text[80];
    std::snprintf(text, sizeof text, "standard input: %d samples: give at least a window, %d samples",
                  static_cast<int>(samples), m3net::kNumSamples);
    return Fail(text);
  }
  return 0;
}
