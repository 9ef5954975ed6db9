"""Files of a workdir, each written whole or not at all."""
import json
from pathlib import Path
from typing import Any

from data_prep.files import replacing, write_bytes

__all__ = ('read_rows', 'replacing', 'write_bytes', 'write_json', 'write_rows')


def write_json(path: Path, content: Any) -> None:
  write_bytes(path, (json.dumps(content, indent=1, allow_nan=False) + '\n').encode())


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
  """JSON lines, a row each."""
  write_bytes(path, ''.join(json.dumps(row, allow_nan=False) + '\n' for row in rows).encode())


def read_rows(path: Path) -> list[dict[str, Any]]:
  """The rows of a JSON-lines file; none where it is absent."""
  return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
