"""Exports a lane: converts it, compares it with the trained network and writes the bundle."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from data_prep import files, store, surroundings
from data_prep.errors import UserError
from data_prep.files import json_sha256
from m3net_jax.deploy import (
  bundle,
  calibration,
  convert,
  firmware,
  npu,
  operators,
  packaging,
  parity,
)
from m3net_jax.inference import classifier, lane_classifier, runtimes, windows
from m3net_jax.inference.best_lane import TrainedLane
from m3net_jax.inference.classifier import Classifier, ModelSpec
from m3net_jax.network import cost
from m3net_jax.network.variants import architecture_of
from m3net_jax.study import locks, workdir
from m3net_jax.study.packages import versions
from m3net_jax.study.workdir import Workdir

_NOISE_CLIPS = 20
_PACKAGES = ('m3net_jax', 'jax', 'tensorflow-cpu', 'ai-edge-litert', 'tflite-micro')


def write(
  out_dir: Path,
  study: Workdir,
  lane: TrainedLane,
  *,
  calibration_clips: int = 300,
  max_drop: float = 0.005,
  kinds: tuple[str, ...] = convert.KINDS,
  mirrors: str = 'reverse',
  card: Callable[[dict[str, Any]], str],
) -> dict[str, Any]:
  """Converts a lane, checks the files on all its validation clips and writes the bundle.

  The test split is read once, after that check: for the table, the golden vectors and the
  comparison with predictions.npz. Its accuracies refuse nothing.

  Args:
    calibration_clips: training clips that set the ranges of the integer models.
    max_drop: largest allowed loss of accuracy of an integer model, as a fraction of the validation
      clips.
    kinds: of models; float32 and int8 must be among them.
    mirrors: one of `options.MIRRORS`.
    card: makes the text of MODEL_CARD.md from the content of export.json.

  Returns:
    The content of export.json, which is also written into the study's folder if that can be
    written to.

  Raises:
    UserError: a check failed; nothing is written then.
  """
  bundle.check_place(out_dir)
  for name in ('ai_edge_litert.interpreter', 'tflite_micro'):
    runtimes.package(name)  # before any work is done
  prepared = study.load_store()
  split = study.splits(prepared)[lane.name.split]
  reference = lane_classifier.from_lane(study, lane, 'conv')
  spec = reference.spec
  firmware.check(spec)
  calibration_set = calibration.choose(prepared, split, calibration_clips)
  calibration.check(prepared.mels[calibration_set], lane.scaling)
  images = spec.images(prepared.mels[calibration_set])
  converted, operator_names = _convert(lane, spec, images, kinds, mirrors)
  with bundle.replacing(out_dir) as folder:
    bundle.write_models(folder, spec, converted)
    mels, labels = prepared.mels[split.validation], prepared.labels[split.validation]
    gate, _ = measure_runtimes(folder, reference.logits(mels), mels, labels)
    parity.check(gate, max_drop)
    mels, labels = prepared.mels[split.test], prepared.labels[split.test]
    logits = reference.logits(mels)
    key = workdir.prediction_key(lane.name.variant, split.name, lane.name.seed)
    parity.same_as_study(logits.argmax(1), study.predictions().get(key), str(study.path))
    rows, predicted = measure_runtimes(folder, logits, mels, labels)
    model = runtimes.Model(converted['int8'], 'TFLite Micro')
    arenas = {kind: _arena(content, kind) for kind, content in converted.items()}
    sources = firmware.files(
      spec,
      converted['int8'],
      arena=arenas['int8'].total,
      tensors=(model.input, model.output),
      operator_names=operator_names['int8'],
      golden=bundle.golden(reference, model, mels, predicted),
    )
    bundle.write_sources(folder, sources, packaging.files(out_dir.resolve().name, spec, converted))
    clips = store.read_clips(prepared.path)
    architecture = architecture_of(lane.name.variant)
    installed_npus = npu.ACCELERATORS if npu.installed() else ()
    content = {
      'name': spec.name,
      'corpus': prepared.manifest['corpus'],
      'lane': {'variant': lane.name.variant, **lane.row, 'best_of': lane.candidates},
      'study': _study(study.results(), lane.name.variant),
      'input_shape': list(spec.input_shape),
      'features': spec.features.to_json(),
      'runtimes': rows,
      'gate': {'max_drop': max_drop, 'runtimes': gate},
      'macs': cost.macs(architecture, len(spec.classes), spec.input_shape),
      'files': {
        kind: {
          'name': f'model_{kind}.tflite',
          'bytes': len(file),
          'arena': arenas[kind]._asdict(),
          'operators': operator_names[kind],
        }
        for kind, file in converted.items()
      },
      'arenas': study.arenas() | {lane.name.variant: arenas['int8'].total},
      'answers': answers(
        classifier.from_tflite(folder / 'model_int8.tflite', runtimes.RUNTIMES[1])
      ),
      'firmware_ram': firmware.ram(spec, arenas['int8'].total),
      'front_end': firmware.front_end(spec),
      'calibration': [str(path) for path in prepared.paths[calibration_set]],
      'test_sha256': json_sha256([clips[i].identity for i in split.test]),
      'npu': [npu.estimate(converted['int8'], name) for name in installed_npus],
      'versions': versions(_PACKAGES),
    }
    files.write_json(folder / 'export.json', content)
    files.write_bytes(folder / 'MODEL_CARD.md', card(content).encode('utf-8', 'replace'))
    bundle.write_checksums(folder)
    if surroundings.can_write(study.path):  # before the bundle takes its place: both, or neither
      with locks.reporting(study.path):  # another export may have written since
        content['arenas'] = study.arenas() | {lane.name.variant: arenas['int8'].total}
        files.write_json(study.path / 'export.json', content)
  return content


def _convert(
  lane: TrainedLane, spec: ModelSpec, images: np.ndarray, kinds: tuple[str, ...], mirrors: str
) -> tuple[dict[str, bytes], dict[str, list[str]]]:
  """The .tflite files of a lane and the names of their operators, by kind."""
  variant = lane.name.variant
  network = convert.Network(
    variant, architecture_of(variant), len(spec.classes), spec.input_shape, lane.variables, mirrors
  )
  converted, names = {}, {}
  for kind, content in convert.convert(network, images, kinds):  # float32 first
    names[kind] = operators.check(content, variant, kind)  # says more than a failure of the next
    if mirrors == 'slices' and 'REVERSE_V2' in names[kind]:
      raise UserError(
        f'--mirrors=slices: variant {variant} reverses a map within a loop: write it without one'
      )
    converted[kind] = content
  return converted, names


def _study(results: dict[str, Any], variant: str) -> dict[str, Any]:
  """What the study says of the variant: its lanes and its test against the baseline, if any."""
  content = results['variants'][variant]
  tests = [test for test in results['tests'] if test['variant'] == variant]
  return {
    'lanes': len(content['lanes']),
    **{name: content[name] for name in ('mean', 'std', 'ci95')},
    'test': tests[0] if tests else None,
  }


def measure_runtimes(
  folder: Path, reference: np.ndarray, mels: np.ndarray, labels: np.ndarray
) -> tuple[list[dict[str, Any]], np.ndarray]:
  """Runs the files of a bundle on clips, with the normalisation of its model.json.

  Args:
    reference: logits [clips, classes] of the trained network.
    mels, labels: log-Mel arrays [clips, n_mels, frames], dB, and [clips].

  Returns:
    One row per runtime, that of JAX first, and the classes [clips] that the int8 file predicts in
    TFLite Micro.
  """
  classes = classifier.read_spec(folder / 'model.json').classes
  rows = [parity.measure('JAX', 'float32', reference, reference, labels, classes)]
  computer, micro = runtimes.RUNTIMES
  kinds = [kind for kind in convert.KINDS if (folder / f'model_{kind}.tflite').exists()]
  for kind, runtime in (*((kind, computer) for kind in kinds), ('int8', micro)):
    logits = classifier.from_tflite(folder / f'model_{kind}.tflite', runtime).logits(mels)
    rows.append(parity.measure(runtime, kind, logits, reference, labels, classes))
  return rows, logits.argmax(1)


def answers(model: Classifier) -> list[dict[str, Any]]:
  """What a model names where there is nothing to name: silence, and white noise at two levels.

  Returns:
    A row for each: what it is, the class of most clips, the share of these clips, and the mean
    probability of that class.
  """
  features, rng = model.spec.features, np.random.default_rng(0)
  noise = rng.standard_normal((_NOISE_CLIPS, features.num_samples)).astype(np.float32)
  rows = []
  for name, samples in (
    ('digital silence', 0 * noise[:1]),
    ('white noise at -60 dB', noise * np.float32(1e-3)),
    ('white noise at -20 dB', noise * np.float32(1e-1)),
  ):
    found = model.probabilities(windows.of_clips(samples, features))
    label = int(np.bincount(found.argmax(1)).argmax())
    rows.append(
      {
        'sound': name,
        'class': model.spec.classes[label],
        'share': float((found.argmax(1) == label).mean()),
        'probability': float(found[:, label].mean()),
      }
    )
  return rows


def _arena(content: bytes, kind: str) -> runtimes.Arena:
  try:
    measured = runtimes.arena(content)
  except UserError as error:
    raise UserError(f'{kind}: {error}{convert.FIXES.get(kind, "")}') from error
  # Planning the memory needs some too, more than the maps of a small input.
  while not runtimes.allocates(content, firmware.arena_bytes(measured.total)):
    measured = measured._replace(total=measured.total + 1024, head=measured.head + 1024)
  return measured
