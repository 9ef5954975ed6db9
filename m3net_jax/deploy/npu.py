"""What Arm's compiler Vela expects of an int8 model on its Ethos-U processors: an estimate, not a measurement."""

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
  return importlib.util.find_spec('ethosu') is not None


def estimate(model: bytes, accelerator: str) -> dict[str, Any]:
  """Vela's estimate with its own memory settings for the accelerator.

  Returns:
    'seconds' of an inference, 'sram_bytes', 'flash_bytes' (with DRAM), 'cpu_operators', names of those that stay on
    the CPU with their number; 'error' alone where Vela fails.
  """
  with tempfile.TemporaryDirectory(prefix='m3net_vela_') as name:
    folder = Path(name)
    (folder / 'model.tflite').write_bytes(model)
    ended = subprocess.run(
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
    if ended.returncode or not tables:
      lines = (ended.stderr or ended.stdout).strip().splitlines()
      return {
        'accelerator': accelerator,
        'error': lines[-1] if lines else f'exit status {ended.returncode}',
      }
    with open(tables[0], newline='') as file:
      row = next(csv.DictReader(file))
    # In the compiled file all that the processor runs is one operator of its own; the others are left.
    left = operators.count((folder / 'model_vela.tflite').read_bytes())
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
    'cpu_operators': {name: count for name, count in left.items() if name != 'ethos-u'},
  }
