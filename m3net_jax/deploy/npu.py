"""Estimates of Arm's compiler Vela for an int8 model on Ethos-U processors; nothing is measured."""

import csv
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from m3net_jax.deploy import operators

ACCELERATORS = ('ethos-u55-128', 'ethos-u85-256')


def installed() -> bool:
  """Whether Vela is installed (extra `npu`)."""
  return importlib.util.find_spec('ethosu') is not None


def estimate(model: bytes, accelerator: str) -> dict[str, Any]:
  """Vela's estimate with its default memory settings for the accelerator.

  Returns:
    'seconds' per inference, 'sram_bytes', 'flash_bytes' (DRAM included) and 'cpu_operators', the
    operators that stay on the CPU with their number; only 'error' if Vela fails.
  """
  with tempfile.TemporaryDirectory(prefix='m3net_vela_') as name:
    folder = Path(name)
    (folder / 'model.tflite').write_bytes(model)
    process = subprocess.run(
      [
        sys.executable,
        '-m',
        'ethosu.vela',
        str(folder / 'model.tflite'),
        '--accelerator-config',
        accelerator,
        '--output-dir',
        str(folder),
      ],
      stdin=subprocess.DEVNULL,
      capture_output=True,
      text=True,
      errors='replace',
      check=False,
    )
    tables = list(folder.glob('*summary*.csv'))
    if process.returncode or not tables:
      lines = (process.stderr or process.stdout).strip().splitlines()
      return {
        'accelerator': accelerator,
        'error': lines[-1] if lines else f'exit status {process.returncode}',
      }
    with open(tables[0], newline='') as file:
      row = next(csv.DictReader(file))
    # In the compiled file one operator, ethos-u, stands for all that the processor runs.
    counts = operators.count((folder / 'model_vela.tflite').read_bytes())
  kib = lambda *columns: round(1024 * sum(float(row[column]) for column in columns))
  return {
    'accelerator': accelerator,
    'system': row['system_config'],
    'memory_mode': row['memory_mode'],
    'seconds': float(row['inference_time']),
    'sram_bytes': kib('sram_memory_used'),
    'flash_bytes': kib(
      'off_chip_flash_memory_used', 'on_chip_flash_memory_used', 'dram_memory_used'
    ),
    'cpu_operators': {name: count for name, count in counts.items() if name != 'ethos-u'},
  }
