"""What the sections of `tests.benchmarks.accelerator` share: their settings and their rows."""

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from data_prep import files
from m3net_jax.network import options

Rows = list[dict[str, Any]]
_LONGEST = 200  # characters of an error


class Size(NamedTuple):
  """An input, its batch and the steps per timed call of a program."""

  input_shape: tuple[int, int, int]
  batch: int
  steps: int


class Settings(NamedTuple):
  """What is measured.

  Attributes:
    sizes: inputs to time; the last one is that of the paper's study.
    lanes: numbers of lanes, ascending; `study_lanes` is one of them.
    study_lanes: lanes of the paper's study.
    lowerings, precisions: of the convolutions and of products.
    variant: the network that is timed.
    equality: input and batch of the comparison of lowerings.
    matrix: rows of the matrices whose product is timed.
    copied: bytes of the array whose pass is timed.
    killed, kills: flags of the study that is killed, and how often.
    digits: flags of the study of the digits that replace those of its flagfile.
    raw_dir, store_dir: of the digits; None if they are not given.
  """

  sizes: tuple[Size, ...] = (Size((64, 64, 1), 32, 16), Size((256, 256, 3), 64, 4))
  lanes: tuple[int, ...] = (1, 14, 28, 126)
  study_lanes: int = 14
  lowerings: tuple[str, ...] = options.LOWERINGS
  precisions: tuple[str, ...] = options.PRECISIONS
  variant: str = 'full'
  equality: Size = Size((64, 64, 1), 16, 1)
  matrix: int = 8192
  copied: int = 2**30
  killed: tuple[str, ...] = ('--num_seeds=4', '--num_epochs=8', '--input_shape=32,32,1')
  kills: int = 2
  digits: tuple[str, ...] = ()
  raw_dir: str | None = None
  store_dir: str | None = None


# For tests, and to see on a CPU that the script runs.
TINY = Settings(
  sizes=(Size((8, 8, 1), 4, 2),),
  lanes=(1, 2),
  study_lanes=2,
  lowerings=options.LOWERINGS[:2],
  precisions=options.PRECISIONS[:2],
  variant='no_ma',
  equality=Size((9, 8, 1), 4, 1),
  matrix=256,
  copied=2**20,
  killed=(
    '--num_seeds=2',
    '--num_epochs=5',
    '--input_shape=8,8,1',
    '--batch_size=12',
    '--variants=no_ma',
  ),
  kills=1,
  digits=(
    '--num_seeds=2',
    '--num_epochs=1',
    '--input_shape=8,8,1',
    '--batch_size=12',
    '--variants=no_ma',
  ),
)


class LeftOut(Exception):
  """A section or a cell is not measured; the message says why."""


class Log:
  """The rows of a section, as they come; also appended to a file for another process."""

  def __init__(self, path: Path | None = None):
    self._path, self.events = path, []

  def plan(self, names: Sequence[str]) -> None:
    """Names what will be measured: what has no row in the end counts as left out."""
    self._add({'plan': list(names)})

  def row(self, name: str, **values: Any) -> dict[str, Any]:
    """Adds a row; returns it."""
    row = {'name': name, **values}
    self._add({'row': row})
    return row

  def leave_out(self, name: str, reason: str) -> None:
    """Says that something planned is not measured."""
    self._add({'left_out': {'name': name, 'reason': reason}})

  @contextlib.contextmanager
  def attempt(self, name: str) -> Iterator[None]:
    """If the block raises, a row says so and the next block goes on."""
    try:
      yield
    except LeftOut as reason:
      self.leave_out(name, str(reason))
    except Exception as error:
      self.row(name, error=one_line(error))

  def end(self, **values: Any) -> None:
    """Says how the section ended, if it did not end well: 'error' or 'skipped' with a reason."""
    self._add({'end': values})

  def _add(self, event: dict[str, Any]) -> None:
    self.events.append(event)
    if self._path:
      with open(self._path, 'a') as file:
        file.write(json.dumps(event) + '\n')


def one_line(error: BaseException) -> str:
  """An error in one line; if memory was lacking, that alone."""
  text = files.one_line(error)
  if isinstance(error, MemoryError) and text:
    return text
  if isinstance(error, MemoryError) or 'RESOURCE_EXHAUSTED' in text or 'out of memory' in text:
    return 'out of memory'
  text = f'{type(error).__name__}: {text}'
  return text if len(text) <= _LONGEST else f'{text[: _LONGEST - 3]}...'


def content(events: Sequence[dict[str, Any]]) -> dict[str, Any]:
  """The rows of a section and what it left out, from the events of its `Log`."""
  rows = [event['row'] for event in events if 'row' in event]
  left = [event['left_out'] for event in events if 'left_out' in event]
  known = {entry['name'] for entry in (*rows, *left)}
  planned = [name for event in events for name in event.get('plan', ())]
  left += [{'name': name, 'reason': 'no time'} for name in planned if name not in known]
  end = {name: text for event in events for name, text in event.get('end', {}).items()}
  return {'rows': rows, 'left_out': left, **end}


def read(path: Path) -> list[dict[str, Any]]:
  """The events that a process has appended to a file; a last line that is not whole is ignored."""
  if not path.exists():
    return []
  return [json.loads(line) for line in path.read_text().split('\n')[:-1]]


def rows_of(known: dict[str, Any], section: str) -> Rows:
  """The rows without errors of an earlier section."""
  return [row for row in known.get(section, {}).get('rows', ()) if 'error' not in row]


def check_time(until: float, seconds: float) -> None:
  """Raises LeftOut if `seconds` of work would end after `until`, of `time.monotonic`."""
  left = until - time.monotonic()
  if seconds > left:
    raise LeftOut(f'would take about {seconds:.0f} s, {max(left, 0):.0f} s are left')
