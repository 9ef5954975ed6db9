// Prints what an ESP32 hears with an I2S microphone such as the INMP441, whose left channel is read.
#include <cstddef>
#include <cstdint>
#include <cstdio>

#include "driver/i2s_std.h"
#include "esp_err.h"
#include "freertos/FreeRTOS.h"
#include "m3net_listener.h"

namespace {

// The pins of your board.
constexpr gpio_num_t kClock = GPIO_NUM_4, kWord = GPIO_NUM_5, kData = GPIO_NUM_6;

i2s_chan_handle_t Microphone() {
  i2s_chan_config_t channel = I2S_CHANNEL_DEFAULT_CONFIG(I2S_NUM_AUTO, I2S_ROLE_MASTER);
  // They hold the samples that come while the network computes: half a second.
  channel.dma_frame_num = 500;
  channel.dma_desc_num = m3net::kSampleRate / 2 / 500 + 1;
  i2s_chan_handle_t microphone = nullptr;
  ESP_ERROR_CHECK(i2s_new_channel(&channel, nullptr, &microphone));
  i2s_std_config_t config = {};
  config.clk_cfg = I2S_STD_CLK_DEFAULT_CONFIG(m3net::kSampleRate);
  config.slot_cfg = I2S_STD_PHILIPS_SLOT_DEFAULT_CONFIG(I2S_DATA_BIT_WIDTH_32BIT, I2S_SLOT_MODE_MONO);
  config.gpio_cfg.mclk = I2S_GPIO_UNUSED;
  config.gpio_cfg.bclk = kClock;
  config.gpio_cfg.ws = kWord;
  config.gpio_cfg.dout = I2S_GPIO_UNUSED;
  config.gpio_cfg.din = kData;
  ESP_ERROR_CHECK(i2s_channel_init_std_mode(microphone, &config));
  ESP_ERROR_CHECK(i2s_channel_enable(microphone));
  return microphone;
}

void Report(const m3net::Heard& heard) {
  std::printf("%.2f s: %s, %.2f\n", static_cast<double>(heard.end) / m3net::kSampleRate, heard.label,
              static_cast<double>(heard.probability));
}

}  // namespace

extern "C" void app_main() {
  if (const char* wrong = m3net::Begin()) {
    std::printf("error: %s\n", wrong);
    return;
  }
  const i2s_chan_handle_t microphone = Microphone();
  static int32_t words[128];
  static int16_t samples[128];
  while (true) {
    std::size_t bytes = 0;
    ESP_ERROR_CHECK(i2s_channel_read(microphone, words, sizeof words, &bytes, portMAX_DELAY));
    const int count = static_cast<int>(bytes / sizeof words[0]);
    for (int i = 0; i < count; ++i) samples[i] = static_cast<int16_t>(words[i] >> 16);
    if (!m3net::Push(samples, count, Report)) {
      std::printf("error: the network cannot be computed\n");
      return;
    }
  }
}
