"""Setup of the devices that share the lanes of a study, and a record of what computes it."""

import os
import platform
import sys
from pathlib import Path
from typing import Any

import jax

from data_prep import surroundings, workers
from data_prep.errors import UserError
from m3net_jax.network import ops
from m3net_jax.study import packages
from m3net_jax.study.config import Config

# Of JAX, on which the numbers of a study depend. A command has them; a notebook may have others.
_SETTINGS = {
  'jax_enable_x64': False,
  'jax_default_prng_impl': 'threefry2x32',
  'jax_threefry_partitionable': True,
}


def lowering(config: Config) -> str:
  """The lowering of the convolutions on these devices."""
  if config.lowering != 'auto':
    return config.lowering
  return ops.lowering_for(jax.default_backend())


def lanes_at_once(config: Config) -> int:
  """Lanes that a device works on together; 0 means all."""
  return config.lanes_at_once or (1 if jax.default_backend() == 'cpu' else 0)


def environment(config: Config) -> dict[str, Any]:
  """What decides the last bits of a lane, besides the settings and the clips: for config.json."""
  return {
    'versions': packages.versions(packages.TRAINING),
    'device': _processor() if jax.default_backend() == 'cpu' else jax.devices()[0].device_kind,
    'devices': jax.device_count(),
    'lowering': lowering(config),
    'lanes_at_once': lanes_at_once(config),
  }


def check_memory(device_bytes: int, num_devices: int, batch_size: int, lanes_at_once: int) -> None:
  """Checks that a program fits into memory before it runs.

  Args:
    device_bytes: that the compiler plans for each device.
    num_devices: devices that run it at once; those of a CPU share its memory.

  Raises:
    UserError: it does not fit; the message names the flag to lower.
  """
  on_cpu = jax.default_backend() == 'cpu'
  needed = device_bytes * num_devices if on_cpu else device_bytes
  limit = surroundings.memory() if on_cpu else _device_memory()
  if limit is None or needed <= limit:
    return
  flag = f'--lanes_at_once={lanes_at_once}' if lanes_at_once > 1 else f'--batch_size={batch_size}'
  raise UserError(
    f'{flag}: training would take {needed / 2**30:.1f} GiB of memory, '
    f'{"this computer" if on_cpu else "the device"} has {limit / 2**30:.1f} GiB: give less'
  )


def _device_memory() -> int | None:
  return (jax.devices()[0].memory_stats() or {}).get('bytes_limit')


def _processor() -> str:
  """The name of this computer's processor: processors round differently."""
  try:
    lines = Path('/proc/cpuinfo').read_text().splitlines()
    return next(line.split(':', 1)[1].strip() for line in lines if line.startswith('model name'))
  except (OSError, StopIteration):  # not Linux, or not x86
    return platform.processor() or platform.machine()


def use_all_cores(cache_dir: str | os.PathLike[str]) -> None:
  """Makes every core a JAX device, and keeps compiled programs in `cache_dir` for later studies.

  If nothing can be written there, the programs are not kept.

  JAX cannot change its devices after its first computation. If that has happened, for example in a
  notebook, the devices stay as they are and a line on standard error says so.

  Raises:
    UserError: JAX computes in 64 bits, or draws other random numbers.
  """
  for name, needed in _SETTINGS.items():
    if (value := getattr(jax.config, name)) != needed:
      raise UserError(
        f'{name}={value}: a study needs {needed!r}: call jax.config.update("{name}", {needed!r})'
      )
  num_cores = workers.num_cores()
  try:
    jax.config.update('jax_num_cpu_devices', num_cores)
  except RuntimeError:
    num_devices = jax.device_count()
    if jax.default_backend() == 'cpu' and num_devices < num_cores:
      print(
        f'JAX already computes with {num_devices} of {num_cores} cores; restart Python and train '
        'first to use all of them',
        file=sys.stderr,
      )
  own = jax.config.jax_compilation_cache_dir  # a user's setting stays
  if not own and surroundings.can_write(Path(cache_dir)):
    jax.config.update('jax_compilation_cache_dir', str(Path(cache_dir).absolute()))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 1.0)
