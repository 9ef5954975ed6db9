"""Stand-ins for what the C++ of a bundle is compiled against: only the interface that it uses.

TFLite Micro's interpreter, Arduino with its PDM microphone, and ESP-IDF with its I2S driver.
"""

import subprocess
from pathlib import Path

from m3net_jax.deploy import operators

WARNINGS = ['-Wall', '-Wextra', '-Werror']

_TFLITE_MICRO = """
#pragma once
#include <cstddef>
#include <cstdint>
enum TfLiteStatus { kTfLiteOk, kTfLiteError };
struct TfLiteTensor { struct { int8_t* int8; } data; };
constexpr std::size_t kInput = SIZES;
bool Infer(const int8_t* input, int8_t* output);
namespace tflite {
struct Model {};
inline const Model* GetModel(const void* data) { return static_cast<const Model*>(data); }
inline void InitializeTarget() {}
template <unsigned count> struct MicroMutableOpResolver { ADDERS };
class MicroInterpreter {
 public:
  template <typename Resolver>
  MicroInterpreter(const Model*, const Resolver&, uint8_t* arena, std::size_t bytes)
      : bytes_(bytes) {
    in_.data.int8 = reinterpret_cast<int8_t*>(arena);
    out_.data.int8 = reinterpret_cast<int8_t*>(arena) + kInput;
  }
  TfLiteStatus AllocateTensors() { return bytes_ > kInput + kOutput ? kTfLiteOk : kTfLiteError; }
  TfLiteStatus Invoke() { return Infer(in_.data.int8, out_.data.int8) ? kTfLiteOk : kTfLiteError; }
  TfLiteTensor* input(int) { return &in_; }
  TfLiteTensor* output(int) { return &out_; }
 private:
  std::size_t bytes_;
  TfLiteTensor in_, out_;
};
}  // namespace tflite
"""

# The process at the other end of the pipes infers.
_INFER = """
#include <cstdio>
#include <cstdlib>
#include "stand_in.h"
bool Infer(const int8_t* input, int8_t* output) {
  static FILE* to = fdopen(std::atoi(std::getenv("INPUTS")), "wb");
  static FILE* from = fdopen(std::atoi(std::getenv("OUTPUTS")), "rb");
  std::fwrite(input, 1, kInput, to);
  std::fflush(to);
  return std::fread(output, 1, kOutput, from) == kOutput;
}
"""

_ARDUINO = """
#pragma once
#include <cstdint>
struct Printer {
  void begin(unsigned long) {}
  void print(const char*) {}
  void print(double, int = 2) {}
  void println(const char*) {}
  void println(double, int = 2) {}
};
extern Printer Serial;
inline void delay(unsigned long) {}
"""

_PDM = """
#pragma once
#include <cstddef>
struct PDMClass {
  int begin(int, int) { return 1; }
  void onReceive(void (*)(void)) {}
  int available() { return 0; }
  int read(void*, std::size_t) { return 0; }
};
extern PDMClass PDM;
"""

_I2S = """
#pragma once
#include <cstddef>
#include <cstdint>
using esp_err_t = int;
#define ESP_ERROR_CHECK(call) do { if ((call) != 0) __builtin_trap(); } while (0)
#define portMAX_DELAY 0xffffffffu
enum gpio_num_t { GPIO_NUM_NC = -1, GPIO_NUM_4 = 4, GPIO_NUM_5, GPIO_NUM_6 };
#define I2S_GPIO_UNUSED GPIO_NUM_NC
enum i2s_port_t { I2S_NUM_AUTO };
enum i2s_role_t { I2S_ROLE_MASTER };
enum i2s_data_bit_width_t { I2S_DATA_BIT_WIDTH_32BIT = 32 };
enum i2s_slot_mode_t { I2S_SLOT_MODE_MONO = 1 };
struct i2s_channel_obj_t;
using i2s_chan_handle_t = i2s_channel_obj_t*;
struct i2s_chan_config_t { i2s_port_t id; i2s_role_t role; uint32_t dma_desc_num, dma_frame_num; };
struct i2s_std_clk_config_t { uint32_t sample_rate_hz; };
struct i2s_std_slot_config_t { i2s_data_bit_width_t data_bit_width; i2s_slot_mode_t slot_mode; };
struct i2s_std_gpio_config_t { gpio_num_t mclk, bclk, ws, dout, din; };
struct i2s_std_config_t {
  i2s_std_clk_config_t clk_cfg;
  i2s_std_slot_config_t slot_cfg;
  i2s_std_gpio_config_t gpio_cfg;
};
#define I2S_CHANNEL_DEFAULT_CONFIG(port, role) {port, role, 6, 240}
#define I2S_STD_CLK_DEFAULT_CONFIG(rate) {rate}
#define I2S_STD_PHILIPS_SLOT_DEFAULT_CONFIG(bits, mode) {bits, mode}
esp_err_t i2s_new_channel(const i2s_chan_config_t*, i2s_chan_handle_t*, i2s_chan_handle_t*);
esp_err_t i2s_channel_init_std_mode(i2s_chan_handle_t, const i2s_std_config_t*);
esp_err_t i2s_channel_enable(i2s_chan_handle_t);
esp_err_t i2s_channel_read(i2s_chan_handle_t, void*, std::size_t, std::size_t*, uint32_t);
"""


def tflite_micro(folder: Path, input_bytes: int, classes: int) -> None:
  """Writes the headers, and stand_in.cc, whose `Infer` talks through the descriptors of $INPUTS
  and $OUTPUTS."""
  adders = ' '.join(
    f'TfLiteStatus {each}() {{ return kTfLiteOk; }}' for each in operators.RESOLVER.values()
  )
  sizes = f'{input_bytes}, kOutput = {classes}'
  header = _TFLITE_MICRO.replace('ADDERS', adders).replace('SIZES', sizes)
  _write(folder / 'stand_in.h', header)
  _write(folder / 'stand_in.cc', _INFER)
  for name in (
    'micro/micro_interpreter.h',
    'micro/micro_mutable_op_resolver.h',
    'micro/system_setup.h',
    'schema/schema_generated.h',
  ):
    _write(folder / 'tensorflow' / 'lite' / name, '#include "stand_in.h"\n')


def arduino(folder: Path) -> None:
  """Writes the headers that a sketch with a PDM microphone includes."""
  for name, text in (('Arduino.h', _ARDUINO), ('PDM.h', _PDM), ('TensorFlowLite.h', '')):
    _write(folder / name, text)


def esp_idf(folder: Path) -> None:
  """Writes the headers that a program with an I2S microphone includes."""
  for name, text in (('driver/i2s_std.h', _I2S), ('esp_err.h', ''), ('freertos/FreeRTOS.h', '')):
    _write(folder / name, text)


def compile_all(
  compiler: list[str], includes: list[Path], sources: list[Path], out: Path, std: str = 'c++17'
) -> None:
  """Compiles each source to an object file in the folder `out`; warnings are errors."""
  subprocess.run(
    [*compiler, f'-std={std}', *WARNINGS, '-c', *(f'-I{path}' for path in includes), *sources],
    cwd=out,
    check=True,
  )


def _write(path: Path, text: str) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text)
