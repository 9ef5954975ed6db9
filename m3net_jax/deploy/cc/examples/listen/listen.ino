// Prints what the board hears. It needs a PDM microphone that the library PDM of the board knows, at the rate of the
// model (m3net::kSampleRate; the Arduino Nano 33 BLE Sense has 16,000 Hz).
#include <PDM.h>
#include <TensorFlowLite.h>  // the header that your library of TFLite Micro has
#include <m3net_listener.h>

// The microphone's interrupt writes here while the network computes: half a second.
constexpr int kSize = m3net::kSampleRate / 2;
int16_t samples[kSize];
volatile int written = 0, taken = 0;  // positions
volatile bool lost = false;

void onSamples() {
  static int16_t part[256];
  const int available = PDM.available();
  const int bytes = available < static_cast<int>(sizeof part) ? available : static_cast<int>(sizeof part);
  const int count = PDM.read(part, bytes) / 2;
  for (int i = 0; i < count; ++i) {
    const int next = written + 1 == kSize ? 0 : written + 1;
    if (next == taken) {
      lost = true;
      return;
    }
    samples[written] = part[i];
    written = next;
  }
}

void onHeard(const m3net::Heard& heard) {
  Serial.print(static_cast<float>(heard.end) / m3net::kSampleRate);
  Serial.print(" s: ");
  Serial.print(heard.label);
  Serial.print(", ");
  Serial.println(heard.probability);
}

void stop(const char* message) {
  while (true) {
    Serial.println(message);
    delay(5000);
  }
}

void setup() {
  Serial.begin(115200);
  const char* wrong = m3net::Begin();
  if (wrong != nullptr) stop(wrong);
  PDM.onReceive(onSamples);
  if (!PDM.begin(1, m3net::kSampleRate)) stop("The microphone does not have the rate of the model.");
  Serial.println("listening");
}

void loop() {
  if (lost) {
    lost = false;
    Serial.println("Samples were lost: the network takes too long, or the buffer is too small.");
  }
  const int end = written;
  if (end == taken) return;
  const int there = (end > taken ? end : kSize) - taken;
  const int count = there < 64 ? there : 64;
  if (!m3net::Push(samples + taken, count, onHeard)) stop("The network cannot be computed.");
  taken = taken + count == kSize ? 0 : taken + count;
}
