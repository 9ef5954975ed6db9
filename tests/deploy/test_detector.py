"""detector.h, compiled: the events that Python finds."""

import dataclasses
import shutil
import subprocess

import numpy as np
import pytest

from m3net_jax.deploy import bundle, firmware
from m3net_jax.inference import detector
from m3net_jax.inference.detector import Settings
from tests.deploy.test_bundle import OUTPUT, SPEC, sources

pytestmark = pytest.mark.skipif(not shutil.which('g++'), reason='needs g++')

PROGRAM = """
#include <cstdio>
#include "detector_constants.h"
#include "golden.h"

int main() {
  using namespace m3net;
  Detector<3> detector(kDetector, kThresholds, kPowers);
  int8_t row[3];
  Event event;
  for (int pass = 0; pass < 2; ++pass) {
    std::rewind(stdin);
    for (int window = 0; std::fread(row, 1, 3, stdin) == 3; ++window) {
      if (!detector.Push(row, &event)) continue;
      std::printf("%d %d %d\\n", window, event.label, static_cast<int>(event.score));
    }
    detector.Reset();
  }
  if (!GoldenEventsAreFound()) return 1;
  std::printf("golden\\n");
}
"""


def compiled(folder, spec):
  bundle.write_sources(folder, sources(spec), {})
  (folder / 'program.cc').write_text(PROGRAM)
  subprocess.run(
    [
      'g++',
      '-std=c++17',
      '-O1',
      '-Wall',
      '-Wextra',
      '-Werror',
      '-Wconversion',
      '-fsanitize=undefined',
    ]
    + ['-fno-sanitize-recover', '-Isrc', '-o', 'program', 'program.cc', 'src/golden.cc'],
    cwd=folder,
    check=True,
  )
  return folder / 'program'


@pytest.mark.parametrize(
  'settings',
  [None, Settings(4, 1, 1, 0, (20000, 0, 32768)), Settings(4, 16, 3, 5, (12000, 9000, 11000))],
)
def test_finds_the_events_that_python_finds(tmp_path, settings):
  spec = dataclasses.replace(SPEC, detector=settings)
  outputs = firmware.golden_outputs(3000, 3)
  outputs[1000:1020] = (-128, 127, -128)  # the largest difference
  (tmp_path / 'outputs').write_bytes(outputs.tobytes())
  with open(tmp_path / 'outputs', 'rb') as file:
    said = subprocess.run(
      [compiled(tmp_path, spec)], stdin=file, capture_output=True, check=True, text=True
    ).stdout
  used = firmware.settings_of(spec)
  found = detector.events(detector.of_stored(outputs, OUTPUT.scale), used)
  expected = [f'{event.window} {event.label} {event.score}' for event in found]
  assert said.splitlines() == [*expected, *expected, 'golden']  # Reset() forgets all
  assert len(found) > 20


def test_the_golden_events_are_enough_to_notice_a_fault():
  found = firmware.golden_events(SPEC, OUTPUT)
  assert len(found) > 10
  assert {event.label for event in found} == {0, 1, 2}
  outputs = firmware.golden_outputs(firmware.GOLDEN_WINDOWS, 3)
  assert len(np.unique(outputs)) > 100
