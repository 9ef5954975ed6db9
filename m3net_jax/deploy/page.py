"""A page in the browser that listens: what a local server sends, {path of the URL: resource}.

The JavaScript in the folder `web` is the same for every model. The constants of one model are
`constants`, so that tables, classes and thresholds have one definition. LiteRT.js, which runs the
int8 model, is not part of this project: `fetch_runtime` puts it into the user's cache folder.
"""

import json
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pooch

from data_prep import download, files, mel
from data_prep.download import Archive
from data_prep.errors import UserError
from m3net_jax.deploy import firmware
from m3net_jax.inference import classifier, detector, runtimes
from m3net_jax.inference.classifier import ModelSpec
from m3net_jax.inference.runtimes import Tensor
from m3net_jax.network import image

LITERT_VERSION = '2.5.3'
_NPM = 'https://registry.npmjs.org/@litertjs'
_ARCHIVES = {
  'core': Archive(
    f'{_NPM}/core/-/core-{LITERT_VERSION}.tgz',
    'sha256:a97660833e9e7e1063c95e12016718881240b14f7438728a2f62785e912d30fd',
    'package',
  ),
  'wasm-utils': Archive(
    f'{_NPM}/wasm-utils/-/wasm-utils-{LITERT_VERSION}.tgz',
    'sha256:ce2a1f8379c067be49e59752e5a7f40db6be09f6e497f0f11e59f17b515366a7',
    'package',
  ),
}
# LiteRT.js takes `compat` in a browser without relaxed SIMD.
_RUNTIME_FILES = (
  'core/dist/index.js',
  'wasm-utils/dist/index.js',
  'core/wasm/litert_wasm_internal.js',
  'core/wasm/litert_wasm_internal.wasm',
  'core/wasm/litert_wasm_compat_internal.js',
  'core/wasm/litert_wasm_compat_internal.wasm',
)
_TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
  '.tflite': 'application/octet-stream',
}


class Resource(NamedTuple):
  """What is sent for one path.

  Attributes:
    kind: the MIME type.
  """

  kind: str
  content: bytes


def runtime_folder() -> Path:
  """Where LiteRT.js is kept: in the user's cache folder, one folder per version."""
  return Path(pooch.os_cache('m3net_jax')) / f'litertjs-{LITERT_VERSION}'


def has_runtime(folder: Path) -> bool:
  """Whether all files of LiteRT.js that the page loads are in the folder."""
  return all((folder / name).is_file() for name in _RUNTIME_FILES)


def fetch_runtime(folder: Path) -> None:
  """Downloads LiteRT.js (12 MB) from the npm registry into the folder, if it is not there.

  Raises:
    UserError: see `download.fetch`.
  """
  for name, archive in _ARCHIVES.items():
    with files.locked(folder / name, files.lock_beside(folder / name)):
      if not (folder / name).exists():
        download.fetch(archive, folder / name)


def of_bundle(model: str | Path, runtime: Path) -> tuple[ModelSpec, dict[str, Resource]]:
  """The page for the int8 model of a bundle.

  Args:
    model: folder of the bundle, or its model_int8.tflite.
    runtime: folder of LiteRT.js.

  Returns:
    The specification of the model, and what is sent for every path.

  Raises:
    UserError: `model` is not a bundle, or LiteRT.js is not in its folder.
  """
  path = Path(model)
  if path.name != 'model_int8.tflite':
    path /= 'model_int8.tflite'
  if not path.is_file() or not path.with_name('model.json').is_file():
    raise UserError(
      f'--model={model}: is not a bundle (no model_int8.tflite with its model.json): give a folder '
      'that python -m m3net_jax.export wrote'
    )
  spec, content = classifier.from_tflite(path).spec, path.read_bytes()
  opened = runtimes.Model(content, runtimes.RUNTIMES[0])
  described = json.dumps(constants(spec, opened.input, opened.output), allow_nan=False)
  sent = {
    '/constants.json': _resource('constants.json', described.encode()),
    '/model.tflite': _resource('model.tflite', content),
  }
  for file in (resources.files('m3net_jax.deploy') / 'web').iterdir():
    sent[f'/{file.name}'] = _resource(file.name, file.read_bytes())
  sent['/'] = sent.pop('/index.html')
  if not has_runtime(runtime):
    raise UserError(
      f'{runtime}: LiteRT.js {LITERT_VERSION}, which runs the model in the browser, is not there: '
      'add --download once (12 MB from registry.npmjs.org)'
    )
  for name in _RUNTIME_FILES:
    sent[f'/litert/{name}'] = _resource(name, (runtime / name).read_bytes())
  return spec, sent


def constants(spec: ModelSpec, input_: Tensor, output: Tensor) -> dict[str, Any]:
  """All that the page must know of a model, as JSON values.

  Args:
    input_, output: the tensors of its int8 file.
  """
  features, tables = spec.features, mel.tables(spec.features)
  height, width, channels = spec.input_shape
  bank = tables.filters
  settings = firmware.settings_of(spec)
  return {
    'name': spec.name,
    'classes': spec.classes,
    'sample_rate': features.sample_rate,
    'num_samples': features.num_samples,
    'fit': features.fit,
    'n_fft': features.n_fft,
    'hop_length': features.hop_length,
    'n_mels': features.n_mels,
    'frames': features.frames,
    'center': features.center,
    'least_power': float(np.float32(features.amin)),
    'reference_decibels': float(10 * np.log10(max(features.amin, features.ref))),
    'range_decibels': features.top_db,
    'window': tables.window.tolist(),
    'filters': {
      'bounds': bank.indptr.tolist(),
      'bins': bank.indices.tolist(),
      'weights': bank.data.tolist(),
    },
    'height': height,
    'width': width,
    'channels': channels,
    'normalisation': 'picture' if (channels, spec.channels) == (3, 'magma') else spec.normalisation,
    'mean': spec.mean,
    'std': spec.std,
    'floor': image.FLOOR,
    'rows': _resizing(features.n_mels, height),
    'columns': _resizing(features.frames, width),
    'deltas': [image.delta_taps(order).tolist() for order in (1, 2)],
    'colours': image.colours().tolist(),
    'input': {'scale': input_.scale, 'zero_point': input_.zero_point},
    'powers': detector.powers(output.scale).tolist(),
    'detector': settings._asdict(),
    'calibrated': spec.detector is not None,
  }


def _resizing(size: int, to: int) -> dict[str, Any]:
  first, weights = firmware.resizing(size, to)
  return {'first': first.tolist(), 'weights': weights.tolist()}


def _resource(name: str, content: bytes) -> Resource:
  return Resource(_TYPES[Path(name).suffix], content)
