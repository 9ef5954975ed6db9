"""The folder that export writes for one lane: models, sources for firmware and measurements.

    model_float32.tflite, model_int8.tflite, model_int16x8.tflite (the last is optional)
    model.json          features, normalisation, classes, hashes of the models; predict reads it
    src/                the C++ of this model (`firmware`), and that of the folder cc/src
    examples/, host/    programs: for Arduino, for ESP-IDF, for a computer
    README.md, library.properties, idf_component.yml, CMakeLists.txt (`packaging`)
    export.json         accuracy of every runtime and all figures; also copied to the study's folder
    MODEL_CARD.md       the same for people
    SHA256SUMS          hashes of all of these files, as `sha256sum` writes and checks them

It is written completely or not at all.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import numpy as np

from data_prep import files
from data_prep.errors import UserError
from m3net_jax.inference.classifier import FORMAT, Classifier, ModelSpec
from m3net_jax.inference.runtimes import Model

GOLDEN_CLIPS = 4
CHECKSUMS = 'SHA256SUMS'


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
  """`files.replacing_folder` for a bundle.

  Raises:
    UserError: something other than a bundle is at `path`, or no folder can be made there.
  """
  check_place(path)
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(
      f'--out_dir={path}: {error.strerror}: give a folder that can be made'
    ) from error
  with files.replacing_folder(path) as folder:
    yield folder


def check_place(path: Path) -> None:
  """Raises UserError if something other than a bundle is at `path`."""
  lacking = [name for name in ('model.json', 'model_int8.tflite') if not (path / name).is_file()]
  if path.exists() and lacking and (not path.is_dir() or any(path.iterdir())):
    raise UserError(
      f'--out_dir={path}: is not empty and holds no bundle (no {lacking[0]}): use an empty folder'
    )


def write_models(folder: Path, spec: ModelSpec, models: dict[str, bytes]) -> None:
  """Writes the .tflite files and model.json."""
  named = {f'model_{kind}.tflite': content for kind, content in models.items()}
  for name, content in named.items():
    files.write_bytes(folder / name, content)
  described = {
    'format': FORMAT,
    **spec.to_json(),
    'sha256': spec.digest(),
    'files': {name: hashlib.sha256(content).hexdigest() for name, content in named.items()},
  }
  text = json.dumps(described, indent=1, allow_nan=False)
  files.write_bytes(folder / 'model.json', f'{text}\n'.encode())


def write_sources(folder: Path, sources: dict[str, str], package: dict[str, str]) -> None:
  """Writes what a build needs: two of {name: text}, and what is the same for all models.

  Args:
    sources: of this model, for the folder src.
    package: files for the folder itself.
  """
  for place, texts in ((folder / 'src', sources), (folder, package)):
    for name, text in texts.items():
      files.write_bytes(place / name, text.encode('utf-8', 'replace'))
  with resources.as_file(resources.files('m3net_jax.deploy') / 'cc') as same:
    for path in same.rglob('*'):
      if path.is_file():
        files.write_bytes(folder / path.relative_to(same), path.read_bytes())


def write_checksums(folder: Path) -> None:
  """Writes SHA256SUMS of all files in a bundle, for `sha256sum --check`."""
  paths = sorted(path for path in folder.rglob('*') if path.is_file() and path.name != CHECKSUMS)
  lines = [
    f'{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n'
    for path in paths
  ]
  files.write_bytes(folder / CHECKSUMS, ''.join(lines).encode())


def golden(
  reference: Classifier, model: Model, mels: np.ndarray, predicted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Stored inputs and outputs of up to 4 test clips that the model classifies differently.

  Whether the answers are right is left open: a build must reproduce them, and no accuracy on the
  test split may refuse a bundle.

  Args:
    model: the int8 file in TFLite Micro.
    mels, predicted: log-Mel arrays and predictions of the model on the test split.

  Returns:
    Inputs [n, height, width, channels] and outputs [n, classes], one clip per class that the model
    predicts.
  """
  _, first = np.unique(predicted, return_index=True)
  chosen = np.sort(first)[:GOLDEN_CLIPS]
  inputs = model.input.stored(reference.spec.images(np.stack([mels[i] for i in chosen])))
  return inputs, np.stack([model.invoke(stored) for stored in inputs])
