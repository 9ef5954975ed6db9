// Events from the stored outputs of overlapping windows. Whole numbers and fixed memory only: it finds the events that
// m3net_jax/inference/detector.py finds.
#ifndef M3NET_DETECTOR_H_
#define M3NET_DETECTOR_H_

#include <cstdint>

namespace m3net {

// The stored probability 1.
constexpr int32_t kOne = 32768;

struct DetectorSettings {
  int smooth;       // windows over which probabilities are averaged, 1 to 16
  int min_windows;  // windows in a row in which the mean must reach the threshold
  int refractory;   // windows after an event in which there is no other
};

struct Event {
  int label;
  int32_t score;  // mean probability, kOne * p
};

template <int kClasses>
class Detector {
 public:
  // `thresholds`, kOne * p, of kClasses classes (0: never reported), and `powers`, 65535 * exp(-scale * d) for the
  // differences d = 0 to 255 of stored outputs, must outlive the detector.
  constexpr Detector(const DetectorSettings& settings, const uint16_t* thresholds, const uint16_t* powers)
      : settings_(settings), thresholds_(thresholds), powers_(powers) {}

  void Reset() { *this = Detector(settings_, thresholds_, powers_); }

  // Takes the stored outputs of the next window, [kClasses]; whether there is an event, which is then in `event`.
  bool Push(const int8_t* outputs, Event* event) {
    int8_t largest = outputs[0];
    for (int k = 1; k < kClasses; ++k) {
      if (outputs[k] > largest) largest = outputs[k];
    }
    uint32_t sum = 0;
    for (int k = 0; k < kClasses; ++k) sum += powers_[largest - outputs[k]];
    uint16_t* row = recent_[next_];
    next_ = next_ + 1 == settings_.smooth ? 0 : next_ + 1;
    int best = -1;
    for (int k = 0; k < kClasses; ++k) {
      total_[k] -= row[k];
      row[k] = static_cast<uint16_t>((powers_[largest - outputs[k]] * static_cast<uint32_t>(kOne) + sum / 2) / sum);
      total_[k] += row[k];
      const int32_t least = static_cast<int32_t>(thresholds_[k]) * settings_.smooth;
      const bool above = least > 0 && total_[k] >= least;
      run_[k] = static_cast<uint8_t>(!above ? 0 : run_[k] < kMostWindows ? run_[k] + 1 : kMostWindows);
      if (run_[k] >= settings_.min_windows && (best < 0 || total_[k] > total_[best])) best = k;
    }
    if (wait_ > 0) {
      --wait_;
      return false;
    }
    if (best < 0) return false;
    wait_ = settings_.refractory;
    event->label = best;
    event->score = total_[best] / settings_.smooth;
    return true;
  }

 private:
  static constexpr int kMostWindows = 16;

  DetectorSettings settings_;
  const uint16_t* thresholds_;
  const uint16_t* powers_;
  uint16_t recent_[kMostWindows][kClasses] = {};
  int32_t total_[kClasses] = {};
  uint8_t run_[kClasses] = {};
  int next_ = 0;
  int wait_ = 0;
};

}  // namespace m3net

#endif  // M3NET_DETECTOR_H_
