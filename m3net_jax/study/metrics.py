"""metrics.jsonl in a workdir: one row per lane and epoch, each with its checksum."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep import files
from data_prep.errors import UserError

NAME = 'metrics.jsonl'
Rows = Sequence[Mapping[str, Any]]
Lane = tuple[str, int, str, int]  # variant, seed, name of the split, setting of the sweep
_FIX = (
  'restore it from a copy; or if the study is finished, delete it: the report then has no learning '
  'curves; or train again in another --workdir'
)


def read(workdir: Path) -> list[dict[str, Any]]:
  """Reads the rows; none if there is no file, UserError if a row was altered."""
  return files.read_rows(workdir / NAME, _FIX)


def lane_of(row: Mapping[str, Any]) -> Lane:
  """The lane of a row."""
  return row['variant'], row['seed'], row['split'], row.get('setting', 0)


def check(workdir: Path, rows: Rows, lanes: Iterable[Lane], epochs: int) -> None:
  """Raises UserError unless every lane has one row for each epoch from 1 to `epochs`, in order.

  Rows of other lanes may be there.
  """
  epochs_of = defaultdict(list)
  for row in rows:
    epochs_of[lane_of(row)].append(row['epoch'])
  for lane in lanes:
    if epochs_of[lane] != list(range(1, epochs + 1)):
      variant, seed, split, _ = lane
      raise UserError(
        f'{workdir / NAME}: the rows of {variant}, seed {seed}, {split} split are not those of the '
        f'epochs 1 to {epochs}, one each: {_FIX}'
      )


def check_finished(workdir: Path, rows: Rows, results: Mapping[str, Any], epochs: int) -> None:
  """`check` of all lanes of a finished study: those of results.json and those that have a row."""
  tested = [
    lane_of({'variant': name, **row})
    for name, variant in results['variants'].items()
    for row in variant['lanes']
  ]
  check(workdir, rows, dict.fromkeys([*tested, *map(lane_of, rows)]), epochs)
