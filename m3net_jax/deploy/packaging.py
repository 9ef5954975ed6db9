"""What build systems and people read in a bundle, as text. Pure functions.

Formats: Arduino's library specification (rev. 2.2) and the manifest of ESP-IDF's component manager.
CMakeLists.txt is the same for every model: it lies in the folder `cc`.
"""

import json
import re
from collections.abc import Iterable

from m3net_jax.deploy import firmware
from m3net_jax.inference.classifier import ModelSpec

_VERSION = '1.0.0'
_AUTHOR = 'The m3net_jax developers'
_URL = 'https://openreview.net/forum?id=8YtYzdFnem'  # the paper
_LONGEST_NAME = 63  # characters of the name of an Arduino library
_COMPONENT = 'espressif/esp-tflite-micro'
_WITH_REVERSE = '1.3.5'  # a version of _COMPONENT that has REVERSE_V2


def name_of(folder: str) -> str:
  """A name for a library from that of a folder: ASCII letters, digits and '_', a letter first."""
  return f'M3Net_{re.sub("[^A-Za-z0-9]+", "_", folder).strip("_")}'[:_LONGEST_NAME].rstrip('_')


def files(folder: str, spec: ModelSpec, kinds: Iterable[str]) -> dict[str, str]:
  """The files of a bundle for build systems and people, {name: text}.

  Args:
    folder: the name of the bundle's folder.
    kinds: of models that it holds.
  """
  words = ', '.join(' '.join(label.split()) for label in spec.classes)
  return {
    'library.properties': _library(name_of(folder), words),
    'idf_component.yml': _component(words),
    'README.md': _readme(name_of(folder), spec, kinds),
  }


def _library(name: str, words: str) -> str:
  return f"""name={name}
version={_VERSION}
author={_AUTHOR}
maintainer={_AUTHOR}
sentence=Hears sounds in a stream from a microphone.
paragraph=An int8 network for TFLite Micro, its features and a detector. Classes: {words}.
category=Data Processing
url={_URL}
architectures=*
includes=m3net_listener.h
"""


def _component(words: str) -> str:
  # A JSON string is one of YAML.
  description = json.dumps(
    f'Hears sounds in a stream from a microphone: {words}', ensure_ascii=False
  )
  return f"""version: "{_VERSION}"
description: {description}
dependencies:
  idf: ">=5.1"
  {_COMPONENT}: "^{_WITH_REVERSE}"
"""


def _readme(name: str, spec: ModelSpec, kinds: Iterable[str]) -> str:
  rate = spec.features.sample_rate
  hop = 1000 * firmware.settings_of(spec).hop_frames * spec.features.hop_length // rate
  models = ', '.join(f'`model_{kind}.tflite`' for kind in kinds)
  return f"""# {name}

A network that hears {len(spec.classes)} classes of sounds in a stream of samples at {rate:,} Hz.
Its accuracy, its memory and its licences: [MODEL_CARD.md](MODEL_CARD.md).

| file | content |
| --- | --- |
| {models} | the models |
| `model.json` | features, normalisation, classes, hashes: what programs in Python read |
| `export.json`, `MODEL_CARD.md` | all figures, for programs and for people |
| `SHA256SUMS` | `sha256sum --check SHA256SUMS` names every file that was changed since the export |
| `src/m3net_listener.h`, `.cc` | what a program calls: `Begin` once, then `Push` with samples |
| `src/model_data.h`, `.cc` | the int8 model as an array, its arena and quantisation |
| `src/op_resolver.h`, `labels.h`, `model_features.h` | its operators, classes and features |
| `src/frontend.h`, `.cc` | from samples to the input of the network |
| `src/detector.h`, `detector_constants.h` | from its outputs to events |
| `src/golden.h`, `.cc` | what a build must reproduce; `Begin` tests it |
| `library.properties`, `examples/listen` | Arduino |
| `idf_component.yml`, `examples/esp_idf` | ESP-IDF |
| `CMakeLists.txt`, `host/listen.cc` | ESP-IDF; a computer |

All C++ is C++14. TFLite Micro may need more; it must be of July 2025 or later if `op_resolver.h`
has `AddReverseV2`. `Begin` tests the build: if features, outputs or events differ from `golden.cc`,
it says so. A board must compute features and network in less than {hop} ms, the time from one
window to the next.

## Arduino

1. Copy this folder into the folder `libraries` of your sketches, as `{name}`.
2. Install a library of TFLite Micro. If its header is not `TensorFlowLite.h`, change that line of
   the sketch. None is named in `library.properties`, so none is installed for you.
3. Open File, Examples, {name}, listen. It reads a PDM microphone at {rate:,} Hz and prints events.

## ESP-IDF

    cd examples/esp_idf
    idf.py set-target esp32s3
    idf.py flash monitor

It reads an I2S microphone; its pins are in `main/main.cc`. In a project of your own, put this
folder into `components`. The component manager fetches `{_COMPONENT}`.

## A computer

    cmake -B build -DTFLITE_MICRO=libtensorflow-microlite.a \\
        -DTFLITE_MICRO_INCLUDES="tflm;flatbuffers/include;gemmlowp;ruy"
    cmake --build build
    build/listen < recording.wav

`TFLITE_MICRO` is the library file that TFLite Micro's Makefile makes, or a target of CMake;
`TFLITE_MICRO_INCLUDES` are its source tree and the folders of its dependencies, separated by
semicolons. `listen` reads WAV or raw samples: 16 bits, one channel, {rate:,} Hz. It prints one line
per event: the second at which its window ends, the class, the probability.

    ffmpeg -i talk.mp3 -ar {rate} -ac 1 -f s16le - | build/listen
"""
