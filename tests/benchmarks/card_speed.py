"""Sections `device`, `speed`, `memory` and `paper` of `tests.benchmarks.accelerator`.

speed   seconds of a training step for every input, number of lanes, lowering and precision. The
        study's lanes come first: all at once in every precision, then one after another. The other
        numbers of lanes are timed in the faster of the two ways and in float32. If a number of
        lanes does not fit in memory at once, the lanes go in equal groups. Cells for which the
        time is too short are estimated from a smaller number of lanes.
memory  what the compiler plans against the most that was in use. The counter of a device never
        falls, so programs run in the order of their plans, and a process of its own runs them.
paper   hours of the paper's whole study from the measured steps.
"""

import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from m3net_jax.network import cost
from m3net_jax.network.variants import VARIANTS
from m3net_jax.study import packages
from m3net_jax.study.splits import SHARES
from tests.benchmarks import card_peaks, card_programs, engines
from tests.benchmarks.card_programs import Cell
from tests.benchmarks.card_sections import Log, Rows, Settings, Size, check_time, rows_of

CLIPS, EPOCHS = 105_829, 100  # of the paper's study: Speech Commands v0.02 (Sections 3.1 and 3.2)
_FIRST = 20.0  # seconds that a cell takes of which nothing is known
_CALLS = 3.0  # calls of a program that a cell makes, about
_ROOM = 0.85  # part of the memory that groups of lanes may plan


def device(settings: Settings, log: Log, until: float, known: dict[str, Any]) -> None:
  """What computes, and its rates: published and measured."""
  kind, count = jax.devices()[0].device_kind, jax.device_count()
  slow = jax.default_backend() == 'cpu'
  log.row(
    'device',
    kind=kind,
    backend=jax.default_backend(),
    devices=count,
    memory_bytes=card_programs.limit(),
    versions=packages.versions(packages.TRAINING),
  )
  names = [*settings.precisions, 'memory']
  log.plan(names)
  peak = card_peaks.published(kind)
  for name in names:
    with log.attempt(name):
      if name == 'memory':
        published = peak.bytes if peak else None
        measured = card_peaks.bytes_per_second(
          min(settings.copied, 2**28) if slow else settings.copied
        )
      else:
        published = getattr(peak, name, None)
        measured = card_peaks.flops(name, min(settings.matrix, 2048) if slow else settings.matrix)
      log.row(name, published=published, measured=measured)


def peak_of(known: dict[str, Any], precision: str) -> float | None:
  """FLOP/s of all devices: the published peak, on a CPU the rate of a large product.

  None for an unknown card, and for a card without such units.
  """
  rows = {row['name']: row for row in rows_of(known, 'device')}
  if precision not in rows or 'device' not in rows:
    return None
  if (published := rows[precision]['published']) is not None:
    return published * rows['device']['devices']
  # A product on one CPU device uses all cores, which are jax's other devices.
  return rows[precision]['measured'] if rows['device']['backend'] == 'cpu' else None


def speed(settings: Settings, log: Log, until: float, known: dict[str, Any]) -> None:
  """Times every cell, or estimates it."""
  plan = list(_plan(settings))
  log.plan([_name(*entry) for entry in plan])
  done: Rows = []
  for entry in plan:
    with log.attempt(name := _name(*entry)):
      done.append(_cell(settings, log, until, known, done, name, *entry))


def _plan(settings: Settings) -> Iterator[tuple[Size, int, str, str, bool | None]]:
  """Size, lanes, lowering, precision and whether all lanes go at once; None: the faster way."""
  study, first = settings.study_lanes, settings.precisions[0]
  for size in settings.sizes:
    for precision in settings.precisions:
      for lowering in settings.lowerings:
        yield size, study, lowering, precision, True
  for size in settings.sizes:
    for lowering in settings.lowerings:
      yield size, study, lowering, first, False
  # The fewest and the most lanes first, then those between.
  rest = [lanes for lanes in settings.lanes if lanes != study]
  for lanes in dict.fromkeys([*rest[:1], *rest[::-1]]):
    for size in settings.sizes:
      for lowering in settings.lowerings:
        yield size, lanes, lowering, first, None


def _name(size: Size, lanes: int, lowering: str, precision: str, together: bool | None) -> str:
  shape = 'x'.join(map(str, size.input_shape))
  way = {True: 'at once', False: 'one after another', None: 'the faster way'}[together]
  return f'{shape} {lanes} lanes {lowering} {precision} {way}'


def _cell(
  settings: Settings,
  log: Log,
  until: float,
  known: dict[str, Any],
  done: Rows,
  name: str,
  size: Size,
  lanes: int,
  lowering: str,
  precision: str,
  together: bool | None,
) -> dict[str, Any]:
  """Times a cell; returns its row."""
  like = [
    row
    for row in done
    if (row['input_shape'], row['lowering'], row['precision'])
    == (list(size.input_shape), lowering, precision)
  ]
  if together is None:
    fastest = min(like, key=lambda row: row['seconds'] / row['lanes'], default=None)
    together = fastest is None or fastest['lanes_at_once'] > 1
  at_once = 1
  if together:
    limit = card_programs.limit()
    lane_bytes = max(
      (row['planned_bytes'] / row['lanes_at_once'] for row in like if 'planned_bytes' in row),
      default=0,
    )
    at_once = card_programs.group(lanes, lane_bytes, limit and limit * _ROOM)
  cell = Cell(
    size.input_shape,
    size.batch,
    size.steps,
    lanes,
    lowering,
    precision,
    at_once,
    settings.variant,
  )
  values = {
    'input_shape': list(size.input_shape),
    'batch': size.batch,
    'lanes': lanes,
    'lowering': lowering,
    'precision': precision,
    'lanes_at_once': at_once,
  }
  nearest = max(
    (row for row in like if (row['lanes_at_once'] > 1) == (at_once > 1)),
    key=lambda row: row['lanes'],
    default=None,
  )
  expected = nearest and nearest['seconds'] / nearest['lanes'] * lanes
  if nearest is None:
    check_time(until, _FIRST)
  elif (
    time.monotonic() + (1.5 * nearest['compile_seconds'] + _CALLS * size.steps * expected) > until
  ):
    return log.row(
      name,
      **values,
      seconds=expected,
      estimated_from=nearest['lanes'],
      share_of_peak=_share(cell, expected, known),
      compile_seconds=nearest['compile_seconds'],
    )
  measured = card_programs.timed(cell)
  return log.row(name, **values, **measured, share_of_peak=_share(cell, measured['seconds'], known))


def _share(cell: Cell, seconds: float, known: dict[str, Any]) -> float | None:
  """The counted operations of a step as a part of what the device does at its peak meanwhile."""
  peak = peak_of(known, cell.precision)
  return peak and step_flops(cell) / seconds / peak


def step_flops(cell: Cell) -> int:
  """Operations of a step of all lanes, counted (`cost.step_flops`)."""
  variant = VARIANTS[cell.variant]
  return cell.lanes * cost.step_flops(variant, engines.CLASSES, cell.input_shape, cell.batch)


def memory(settings: Settings, log: Log, until: float, known: dict[str, Any]) -> None:
  """Planned against used memory of measured cells, in the order of their plans."""
  chosen = _to_weigh(rows_of(known, 'speed'))
  log.plan([row['name'] for row in chosen])
  for row in chosen:
    with log.attempt(row['name']):
      # It was compiled before: the process finds it in the folder of compiled programs.
      check_time(until, row['compile_seconds'])
      cell = Cell(
        tuple(row['input_shape']),
        row['batch'],
        next(s.steps for s in settings.sizes if list(s.input_shape) == row['input_shape']),
        row['lanes'],
        row['lowering'],
        row['precision'],
        row['lanes_at_once'],
        settings.variant,
      )
      before = card_programs.highest_use()
      with card_programs.in_precision(cell.precision):
        started = card_programs.start(cell)
        planned = card_programs.planned_bytes(started)
        _, losses = started.programs.train_fn(started.state, started.clips, started.order)
        np.asarray(losses)
      del started, losses
      after = card_programs.highest_use()
      # An earlier program needed more: nothing is known of this one.
      used = after if after is not None and before is not None and after > before else None
      log.row(row['name'], planned_bytes=planned, used_bytes=used)


def _to_weigh(rows: Rows) -> Rows:
  """For every input and lowering the first and the largest plan, all in the order of the plans."""
  groups: dict[tuple, Rows] = {}
  planned = [row for row in rows if 'planned_bytes' in row]
  for row in sorted(planned, key=lambda row: row['planned_bytes']):
    groups.setdefault((*row['input_shape'], row['lowering']), []).append(row)
  chosen = [
    row
    for group in groups.values()
    for row in (group if len(group) < 2 else group[:: len(group) - 1])
  ]
  return sorted(chosen, key=lambda row: row['planned_bytes'])


def paper(settings: Settings, log: Log, until: float, known: dict[str, Any]) -> None:
  """Hours of the paper's study from the step of each lowering and precision.

  Validation is measured for the fastest one; for the others it counts as a third of a step, the
  forward pass.
  """
  size = settings.sizes[-1]
  rows = [
    row
    for row in rows_of(known, 'speed')
    if row['input_shape'] == list(size.input_shape) and row['lanes'] == settings.study_lanes
  ]
  rows.sort(key=lambda row: row['seconds'])
  names = [f'{row["lowering"]} {row["precision"]} {row["lanes_at_once"]} at once' for row in rows]
  log.plan(names or ['the paper'])
  if not rows:
    log.leave_out('the paper', 'no step of its input was measured')
  train, validation, _ = (round(share * CLIPS) for share in SHARES)
  steps, batches = (-(-clips // size.batch) for clips in (train, validation))
  evaluation = None
  if rows:
    with log.attempt('validation of the fastest'):
      check_time(until, 2 * rows[0]['compile_seconds'] + 3 * size.steps * rows[0]['seconds'])
      fields = ('lanes', 'lowering', 'precision', 'lanes_at_once')
      evaluation = card_programs.evaluated(
        Cell(*size, *(rows[0][field] for field in fields), settings.variant)
      )
      log.row('validation of the fastest', seconds=evaluation)
  for name, row in zip(names, rows):
    measured = row is rows[0] and evaluation is not None
    batch = evaluation if measured else row['seconds'] / cost.PASSES
    log.row(
      name,
      step_seconds=row['seconds'],
      batch_seconds=batch,
      batch_measured=measured,
      steps=EPOCHS * steps,
      batches=EPOCHS * batches,
      hours=EPOCHS * (steps * row['seconds'] + batches * batch) / 3600,
    )
