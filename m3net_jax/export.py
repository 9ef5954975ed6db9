"""Writes the bundle of a study's best lane: int8 for microcontrollers, and the proof that it does what was trained.

    python -m m3net_jax.export --workdir=studies/quick --out_dir=bundles/quick

The folder is written whole, and only when the converted files are as good as the trained network on the whole test
split. Run again, it is made anew.
"""
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from data_prep import cli, files, store
from data_prep.errors import UserError
from data_prep.files import json_sha256
from m3net_jax.deploy import bundle, calibration, convert, firmware, npu, operators, parity
from m3net_jax.inference import best_lane, classifier, runtimes
from m3net_jax.network import cost
from m3net_jax.network.variants import architecture_of
from m3net_jax.reporting import model_card, report
from m3net_jax.study import splits, workdir

_WORKDIR = flags.DEFINE_string('workdir', None, 'the finished study', required=True, allow_override=True)
_OUT_DIR = flags.DEFINE_string('out_dir', None, 'the folder to write', required=True)
_CALIBRATION_CLIPS = flags.DEFINE_integer('calibration_clips', 300,
                                          'training clips that set the ranges of the integer models', lower_bound=1)
_MAX_DROP = flags.DEFINE_float('max_drop', 0.5,
                               'points that an integer model may lose on the test split; more, and nothing is written',
                               lower_bound=0.0, upper_bound=100.0)
_INT16X8 = flags.DEFINE_bool('int16x8', True, 'make an int16x8 model too, which some operators lack')
flags.adopt_module_key_flags(best_lane)

_PACKAGES = ('m3net_jax', 'jax', 'tensorflow-cpu', 'ai-edge-litert', 'tflite-micro')


def main(arguments: list[str]) -> None:
  cli.no_arguments(arguments)
  out_dir = Path(_OUT_DIR.value).absolute()
  bundle.check_place(out_dir)
  for name in ('ai_edge_litert.interpreter', 'tflite_micro'):
    runtimes.package(name)  # before any work is done
  study = workdir.read(_WORKDIR.value)
  lane = best_lane.load(study, *best_lane.asked())
  prepared = store.load(study.store, study.features)
  if prepared.manifest['files']['mels.npy']['sha256'] != study.store_sha256:
    raise UserError(f'{study.store}: is not the store that {study.path} was trained on: prepare it again as it was')
  split = splits.make(prepared, study.config.split)[lane.name.split]
  exported = write(out_dir, study, lane, prepared, split, _CALIBRATION_CLIPS.value, _MAX_DROP.value / 100,
                   convert.KINDS if _INT16X8.value else convert.KINDS[:2])
  files.write_json(study.path / 'export.json', exported)
  report.write(study)
  print(f'\n{parity.text(exported)}\n')
  print(f'wrote {_OUT_DIR.value} and {study.path / "export.json"}')


def write(out_dir: Path, study: workdir.Workdir, lane: best_lane.Winner, prepared: store.Store, split: splits.Split,
          calibration_clips: int, max_drop: float, kinds: tuple[str, ...] = convert.KINDS) -> dict[str, Any]:
  """Converts, proves and writes the bundle; returns the content of its export.json.

  Args:
    max_drop: how far an integer model may lie below JAX, as a fraction of the test clips.
    kinds: of models, float32 and int8 among them.

  Raises:
    UserError: something is not as it must be; nothing is written then.
  """
  reference = classifier.of_lane(study, lane, 'conv')
  spec = reference.spec
  firmware.check(spec)
  print(f'{spec.name}: test accuracy {100 * lane.row["test_accuracy"]:.2f} %', flush=True)
  chosen = calibration.choose(prepared, split, calibration_clips)
  calibration.check(prepared.mels[chosen], lane.scaling)
  network = convert.Network(lane.name.variant, len(spec.classes), spec.input_shape, lane.variables)
  images = spec.images(prepared.mels[chosen])
  converted, names = {}, {}
  for some in (kinds[:1], kinds[1:]):  # float32 first: the integer converters' reasons say less
    converted |= convert.convert(network, images, some)
    names |= {kind: operators.check(converted[kind], lane.name.variant, kind) for kind in some}
  with bundle.replacing(out_dir) as folder:
    bundle.write_models(folder, spec, converted)
    mels, labels = prepared.mels[split.test], prepared.labels[split.test]
    logits = reference.logits(mels)
    key = workdir.prediction_key(lane.name.variant, split.name, lane.name.seed)
    parity.same_as_study(logits.argmax(1), study.predictions().get(key), str(study.path))
    rows, micro = prove(folder, logits, mels, labels)
    parity.check(rows, max_drop)
    model = runtimes.Model(converted['int8'], 'TFLite Micro')
    vectors = bundle.golden(reference, model, mels, labels, micro)
    arenas = {kind: _arena(content, kind) for kind, content in converted.items()}
    bundle.write_sources(folder, firmware.files(
        spec, converted['int8'], arena=arenas['int8'].total, tensors=(model.input, model.output),
        operator_names=names['int8'], golden=vectors))
    clips = store.read_clips(prepared.path)
    architecture, results = architecture_of(lane.name.variant), study.results()
    found = results['variants'][lane.name.variant]
    exported = {
        'name': spec.name, 'corpus': prepared.manifest['corpus'],
        'lane': {'variant': lane.name.variant, **lane.row, 'best_of': lane.candidates},
        'study': {'lanes': len(found['lanes']), **{name: found[name] for name in ('mean', 'std', 'ci95')},
                  'test': next((test for test in results['tests'] if test['variant'] == lane.name.variant), None)},
        'input_shape': list(spec.input_shape), 'features': spec.features.to_json(), 'runtimes': rows,
        'macs': sum(cost.block_macs(architecture, len(spec.classes), spec.input_shape).values()),
        'files': {kind: {'name': f'model_{kind}.tflite', 'bytes': len(content), 'arena': arenas[kind]._asdict(),
                         'operators': names[kind]} for kind, content in converted.items()},
        'firmware_ram': firmware.ram(spec, arenas['int8'].total),
        'calibration': [str(path) for path in prepared.paths[chosen]],
        'test_sha256': json_sha256([clips[i].identity for i in split.test]),
        'npu': [npu.estimate(converted['int8'], each) for each in npu.ACCELERATORS] if npu.installed() else [],
        'versions': {name: metadata.version(name) for name in _PACKAGES},
    }
    files.write_json(folder / 'export.json', exported)
    files.write_bytes(folder / 'MODEL_CARD.md', model_card.text(exported, results).encode())
  return exported


def prove(folder: Path, reference: np.ndarray, mels: np.ndarray,
          labels: np.ndarray) -> tuple[list[dict[str, Any]], np.ndarray]:
  """Runs the files of a bundle on test clips, with the features and normalisation of its model.json.

  Args:
    reference: logits of the trained network [clips, classes].
    mels, labels: the test clips.

  Returns:
    a row a runtime, JAX's first, and the classes that the int8 file predicts in TFLite Micro.
  """
  classes = classifier.read_spec(folder / 'model.json').classes
  rows = [parity.measure('JAX', 'float32', reference, reference, labels, classes)]
  computer, micro = runtimes.RUNTIMES
  kinds = [kind for kind in convert.KINDS if (folder / f'model_{kind}.tflite').exists()]
  for kind, runtime in (*((kind, computer) for kind in kinds), ('int8', micro)):
    logits = classifier.of_tflite(folder / f'model_{kind}.tflite', runtime).logits(mels)
    rows.append(parity.measure(runtime, kind, logits, reference, labels, classes))
  return rows, logits.argmax(1)


def _arena(content: bytes, kind: str) -> runtimes.Arena:
  try:
    return runtimes.arena(content)
  except UserError as error:
    raise UserError(f'{kind}: {error}{convert.MENDS.get(kind, "")}') from error


if __name__ == '__main__':
  cli.run(main)
