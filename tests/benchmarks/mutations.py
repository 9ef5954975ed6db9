"""Damages every file of a study, a store and a bundle: is each damage named or without effect?

    python -m tests.benchmarks.mutations STUDY STORE BUNDLE [--count=10000] [--seed=0]

Bits flip, blocks are lost, zeroed or doubled, files are cut; keys, rows and arrays vanish or come
twice, values change their type, become NaN or huge. A file is damaged in a copy, read as the
commands read it, and the answer compared with that of the whole file. Prints how often the damage
was named in one line, had no effect, gave a wrong answer or a traceback.
"""

import collections
import contextlib
import dataclasses
import hashlib
import io
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from data_prep import cli, compute, journal
from data_prep import store as stores
from data_prep.errors import UserError
from m3net_jax.inference import best_lane, classifier
from m3net_jax.reporting import bundles, detections, evidence_tables, robustness, summary
from m3net_jax.reporting import html as report_html
from m3net_jax.reporting.content import gather
from m3net_jax.study import noise_bank, recorded_splits, results, teacher, workdir

NAMED, SAME, WRONG, TRACEBACK = OUTCOMES = 'one line', 'same answer', 'WRONG', 'TRACEBACK'
_VALUES = (None, True, 'text', 0, 1.5, [], {}, [1, 'a'], -1)
_NUMBERS = (float('nan'), float('inf'), 10**400, 1e308, -1e308, 2**64)


class Target(NamedTuple):
  """A file, and how it is read.

  Attributes:
    reader: what reads it, for people.
    path: of the file.
    read: reads it and what belongs to it; returns the answer.
    weight: share of the mutations.
    together: files that a reader may change, and that are restored with it.
    same: whether an answer is as good as that of the whole file.
  """

  reader: str
  path: Path
  read: Callable[[], Any]
  weight: float = 1.0
  together: tuple[Path, ...] = ()
  same: Callable[[Any, Any], bool] = lambda whole, answer: whole == answer

  @property
  def name(self) -> str:
    """The file and its reader, for the table."""
    return f'{self.path.name[:24]}, {self.reader}' if self.reader else self.path.name


class Count(NamedTuple):
  """Outcomes of a target, and a message of each outcome but `SAME`."""

  outcomes: collections.Counter
  examples: dict[str, str]


def run(targets: list[Target], count: int, seed: int) -> Iterator[tuple[Target, Count]]:
  """Damages the files `count` times in all; yields the outcomes of one after another."""
  rng = np.random.default_rng(seed)
  weights = np.array([target.weight for target in targets])
  for target, times in zip(targets, np.ceil(count * weights / weights.sum()).astype(int)):
    files = {path: path.read_bytes() for path in (target.path, *target.together)}
    whole = fingerprint(target.read())
    found = Count(collections.Counter(), {})
    for _ in range(times):
      for path, content in files.items():
        path.write_bytes(content)
      kind, content = mutated(files[target.path], target.path.suffix, rng)
      target.path.write_bytes(content)
      outcome, message = _outcome(target, whole)
      found.outcomes[outcome] += 1
      if message:
        found.examples.setdefault(outcome, f'{kind}: {message}')
    for path, content in files.items():
      path.write_bytes(content)
    assert fingerprint(target.read()) == whole
    yield target, found


def _outcome(target: Target, whole: Any) -> tuple[str, str]:
  try:
    with contextlib.redirect_stderr(io.StringIO()):
      answer = fingerprint(target.read())
  except UserError as error:
    # One line that names the file, or the folder that must be made again as a whole.
    if '\n' in str(error) or not {target.path.parent.name, 'checkpoints'} & set(_words(error)):
      return TRACEBACK, f'not named: {error}'
    return NAMED, str(error)
  except Exception as error:
    return TRACEBACK, f'{type(error).__name__}: {error}'
  return (SAME, '') if target.same(whole, answer) else (WRONG, 'another answer')


def _words(error: UserError) -> list[str]:
  """The parts of the paths in a message."""
  return re.split(r'[/:\s]+', str(error))


def fingerprint(value: Any) -> Any:
  """A value as nested tuples that compare equal if and only if nothing in it differs."""
  if isinstance(value, np.ndarray):
    content = np.ascontiguousarray(value)
    return value.dtype.str, value.shape, hashlib.sha256(content.tobytes()).hexdigest()
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    return type(value).__name__, fingerprint(vars(value))
  if isinstance(value, dict):
    return tuple((repr(key), fingerprint(entry)) for key, entry in value.items())
  if isinstance(value, (set, frozenset)):
    return tuple(sorted(map(repr, value)))
  if isinstance(value, (list, tuple)):
    return tuple(map(fingerprint, value))
  return repr(value)


def mutated(content: bytes, suffix: str, rng: np.random.Generator) -> tuple[str, bytes]:
  """Another content of a file, and what was done to it."""
  of_type = {'.json': _json, '.jsonl': _lines, '.csv': _lines, '.npz': _arrays}.get(suffix)
  while True:
    change = of_type if of_type and rng.random() < 0.5 else _bytes
    kind, damaged = change(content, rng)
    if damaged != content:
      return kind, damaged


def _bytes(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
  """Damage of a disk or of a transfer."""
  kind = str(rng.choice(['bit', 'bits', 'digit', 'cut', 'zeros', 'lost', 'twice', 'random']))
  data, size = bytearray(content), len(content)
  start = int(rng.integers(size))
  end = min(size, start + int(2 ** rng.uniform(0, 12)))
  if kind in ('bit', 'bits'):
    for _ in range(1 if kind == 'bit' else 5):
      data[rng.integers(size)] ^= 1 << int(rng.integers(8))
  elif kind == 'digit':
    digits = [i for i in range(start, min(size, start + 4096)) if 48 <= data[i] < 58]
    if digits:
      data[rng.choice(digits)] = 48 + int(rng.integers(10))
  elif kind == 'cut':
    del data[start:]
  elif kind == 'zeros':
    data[start:end] = bytes(end - start)
  elif kind == 'lost':
    del data[start:end]
  elif kind == 'twice':
    data[start:start] = data[start:end]
  else:
    data[start:end] = rng.bytes(end - start)
  return kind, bytes(data)


def _json(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
  """Damage by an editor or another program."""
  value = json.loads(content)
  kind = _change(value, rng)
  return kind, (json.dumps(value, indent=1) + '\n').encode()


def _change(value: Any, rng: np.random.Generator) -> str:
  """Changes one entry anywhere in a JSON value."""
  places, todo = [], [value]
  while todo:
    entry = todo.pop()
    keys = list(entry) if isinstance(entry, dict) else range(len(entry))
    places += [(entry, key) for key in keys]
    todo += [entry[key] for key in keys if isinstance(entry[key], (dict, list))]
  entry, key = places[rng.integers(len(places))]
  kind = str(rng.choice(['deleted', 'type', 'number', 'twice', 'moved']))
  if kind == 'deleted':
    del entry[key]
  elif kind == 'type':
    entry[key] = _VALUES[rng.integers(len(_VALUES))]
  elif kind == 'number':
    entry[key] = _NUMBERS[rng.integers(len(_NUMBERS))]
  elif kind == 'twice' and isinstance(entry, list):
    entry.insert(key, entry[key])
  elif isinstance(entry[key], (int, float)) and not isinstance(entry[key], bool):
    entry[key] += entry[key] * 0.01 + 1
  return kind


def _lines(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
  """A row that is missing, comes twice, changes its place or has another value."""
  lines = content.splitlines(keepends=True)
  i, j = map(int, rng.integers(len(lines), size=2))
  kind = str(rng.choice(['row deleted', 'row twice', 'rows exchanged', 'value']))
  if kind == 'row deleted':
    del lines[i]
  elif kind == 'row twice':
    lines.insert(j, lines[i])
  elif kind == 'rows exchanged':
    lines[i], lines[j] = lines[j], lines[i]
  elif lines[i][:1] in (b'{', b'['):
    row = json.loads(lines[i])
    kind = _change(row, rng)
    lines[i] = json.dumps(row).encode() + b'\n'
  else:
    cells = lines[i].rstrip(b'\n').split(b',')
    cells[rng.integers(len(cells))] = b'nan'
    lines[i] = b','.join(cells) + b'\n'
  return kind, b''.join(lines)


def _arrays(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
  """An archive that is whole, with another array in it."""
  with np.load(io.BytesIO(content)) as saved:
    arrays = dict(saved)
  name = str(rng.choice(list(arrays)))
  kind = str(rng.choice(['array deleted', 'value', 'type', 'row deleted', 'row twice', 'huge']))
  array = arrays[name].copy()
  if kind == 'array deleted':
    del arrays[name]
  elif kind == 'type':
    arrays[name] = array.astype(str) if array.dtype.kind != 'U' else np.zeros(array.shape)
  elif not array.ndim or not array.size:
    arrays[name] = np.zeros(3)
  elif kind == 'row deleted':
    arrays[name] = array[1:]
  elif kind == 'row twice':
    arrays[name] = np.concatenate([array[:1], array])
  elif array.dtype.kind == 'U':
    array.flat[rng.integers(array.size)] = 'text'
    arrays[name] = array
  elif kind == 'huge' and array.dtype.kind == 'f':
    array.flat[rng.integers(array.size)] = rng.choice([np.nan, np.inf, 6e4])
    arrays[name] = array
  else:
    place = rng.integers(array.size)
    array.flat[place] = array.flat[place] + 1
    arrays[name] = array
  file = io.BytesIO()
  np.savez_compressed(file, **arrays)
  return kind, file.getvalue()


def of_study(folder: Path, store: stores.Store) -> list[Target]:
  """The files of a finished study, all of which `main` continues and `report` shows."""
  study = workdir.read(folder)
  content = study.results()
  lanes, classes = results.tested(content), content['corpus']['classes']
  shown = lambda module: module.text(module.read(folder))

  def by_lane() -> list[Any]:
    """The rows of metrics.jsonl; the order of lanes means nothing."""
    rows = study.metrics()
    lanes = sorted({(row['variant'], row['seed'], row['split']) for row in rows})
    return [
      [row for row in rows if (row['variant'], row['seed'], row['split']) == lane] for lane in lanes
    ]

  targets = [
    Target('', folder / 'config.json', lambda: workdir.read(folder)),
    Target('', folder / 'results.json', lambda: (study.results(), summary.text(study.results()))),
    Target('', folder / 'predictions.npz', study.predictions),
    Target('', folder / 'metrics.jsonl', by_lane),
    Target(
      '',
      folder / 'splits.npz',
      lambda: (study.splits(store), recorded_splits.read(folder).tested),
    ),
    Target('', folder / 'noise.npz', lambda: noise_bank.read(folder)),
    Target('', folder / 'teacher.npz', lambda: teacher.read(folder)),
    Target('', folder / 'robustness.json', lambda: shown(robustness)),
    Target('report', folder / 'detection.json', lambda: shown(detections)),
    Target(
      'predict',
      folder / 'detection.json',
      lambda: [best_lane._detector(study, name, classes) for name in lanes],
    ),
    Target(
      '', folder / 'export.json', lambda: (study.arenas(), evidence_tables.export_tables(study))
    ),
  ]
  targets = [target for target in targets if target.path.exists()]
  report = lambda: report_html.render_markdown(gather(workdir.read(folder)))
  paths = dict.fromkeys(target.path for target in targets)
  return targets + [Target('whole report', path, report, weight=0.01) for path in paths]


def of_checkpoints(folder: Path, mels: np.ndarray) -> list[Target]:
  """The files of a study's last checkpoints, read by `predict` and `export`."""
  read = lambda: classifier.load(folder).logits(mels)
  targets = []
  for cohort in sorted((folder / 'checkpoints').iterdir()):
    last = max(
      (step for step in cohort.iterdir() if step.name.isdigit()), key=lambda s: int(s.name)
    )
    for path in sorted(path for path in last.rglob('*') if path.is_file()):
      targets.append(Target(f'{path.parent.relative_to(last)}', path, read, weight=0.02))
  return targets


def of_store(folder: Path) -> list[Target]:
  """The files of a store."""
  read = lambda: (stores.load(folder)._replace(path=None), stores.read_recordings(folder))
  names = ('manifest.json', 'mels.npy', 'clips.csv', 'recordings.csv')
  return [Target('', folder / name, read) for name in names]


def of_journal(folder: Path, store: stores.Store) -> list[Target]:
  """The files of an interrupted preparation; clips that are lost are computed again."""
  clips = stores.read_clips(store.path)
  with journal.Journal(folder, store.features, 'recordings') as made:
    for clip, mel in zip(clips, store.mels):
      measured = compute.Measured(clip.seconds, clip.entropy, clip.crossings)
      key = clip.path, clip.start, clip.gain
      made.add(compute.Result(key, 1, 2, clip.sha256, measured, mel.tobytes(), ''))

  def read() -> dict[Any, Any]:
    with journal.Journal(folder, store.features, 'recordings') as opened:
      done = opened.done
    arrays = np.concatenate(
      [np.zeros((0, *store.features.shape)), *journal.blocks(list(done.values()), store.features)]
    )
    return {key: (array, done[key][3:]) for key, array in zip(done, arrays, strict=True)}

  paths = folder / 'rows.bin', folder / 'rows.jsonl'
  some = lambda whole, answer: set(answer) <= set(whole)
  return [Target('', path, read, together=paths, same=some) for path in paths]


def of_bundle(folder: Path, mels: np.ndarray) -> list[Target]:
  """The files of a bundle that programs read, and those that a build reads."""

  def check() -> str:
    command = ['sha256sum', '--check', '--quiet', '--strict', 'SHA256SUMS']
    ended = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    if ended.returncode:
      raise UserError(f'{folder}: {" ".join(ended.stdout.decode(errors="replace").split())}')
    return 'whole'

  predict = lambda: (classifier.load(folder).spec, classifier.load(folder).logits(mels))
  targets = [
    Target('', folder / 'model.json', predict),
    Target('', folder / 'model_int8.tflite', predict),
    Target('edge', folder / 'export.json', lambda: bundles.row(folder)),
  ]
  if (folder / 'SHA256SUMS').exists():
    for name in ('src/labels.h', 'src/golden.cc', 'src/model_data.cc', 'SHA256SUMS'):
      targets.append(Target('sha256sum', folder / name, check, weight=0.1))
  return [target for target in targets if target.path.exists()]


def main(arguments: list[str], values: flags.FlagValues) -> None:
  if len(arguments) != 3:
    raise UserError('give a study, its store and a bundle')
  with tempfile.TemporaryDirectory() as temporary:
    root = Path(temporary)
    study, store, bundle = (root / name for name in ('a_study', 'a_store', 'a_bundle'))
    for source, copy in zip(arguments, (study, store, bundle)):
      shutil.copytree(source, copy)
    loaded = stores.load(arguments[1])
    mels = np.array(loaded.mels[:4])
    of_model = np.array(
      np.random.default_rng(0).uniform(-80, 0, (4, *classifier.load(bundle).spec.features.shape)),
      np.float16,
    )
    targets = [
      *of_study(study, loaded),
      *of_checkpoints(study, mels),
      *of_store(store),
      *of_journal(root / 'a_journal', loaded),
      *of_bundle(bundle, of_model),
    ]
    wide = max(len(target.name) for target in targets)
    row = lambda name, cells: print(
      f'{name:<{wide}}' + ''.join(f'{cell:>13}' for cell in cells), flush=True
    )
    row('file, reader', OUTCOMES)
    total, examples = collections.Counter(), []
    for target, found in run(targets, values.count, values.seed):
      row(target.name, [found.outcomes[outcome] for outcome in OUTCOMES])
      total += found.outcomes
      examples += [f'{target.name}: {key}: {text}' for key, text in found.examples.items()]
    row('all', [total[outcome] for outcome in OUTCOMES])
    print('\n'.join(text.replace(temporary, '')[:400] for text in examples))


def define(values: flags.FlagValues) -> None:
  """Defines the flags of this command."""
  flags.DEFINE_integer('count', 10000, 'mutations of all files together', 1, flag_values=values)
  flags.DEFINE_integer('seed', 0, 'seed of the mutations', flag_values=values)


if __name__ == '__main__':
  cli.run(main, define)
