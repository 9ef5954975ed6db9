"""Setup of the devices that share the lanes of a study, and a record of what computes it."""

import dataclasses
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
from m3net_jax.study.input_pipeline import RESIDENT_BYTES

# Of JAX, on which the numbers of a study depend. A command has them; a notebook may have others.
_SETTINGS = {
  'jax_enable_x64': False,
  'jax_default_prng_impl': 'threefry2x32',
  'jax_threefry_partitionable': True,
}
_RESIDENT_SHARE = 0.25  # of an accelerator's memory, for a store that stays there


class TooLarge(Exception):
  """A program needs more memory on each device than there is; both in bytes."""

  def __init__(self, needed: int, limit: int):
    super().__init__(needed, limit)
    self.needed, self.limit = needed, limit


def unmeasured(config: Config) -> Config:
  """The settings with the lowering, and on a CPU the lanes at once, that need no measurement."""
  lowering, at_once = config.lowering, config.lanes_at_once
  if lowering == 'auto':
    lowering = ops.lowering_for(jax.default_backend())
  if _on_cpu():
    at_once = at_once or 1
  return dataclasses.replace(config, lowering=lowering, lanes_at_once=at_once)


def devices_per_lane(config: Config, num_lanes: int, batch_size: int) -> int:
  """Devices that share the batches of a lane: a number that divides `batch_size`.

  On a CPU it is 1 unless the settings have another number: a batch in parts is summed in another
  order, and a lane alone would differ in its last bits from the same lane among others.
  """
  most = config.devices_per_lane or (1 if _on_cpu() else jax.device_count() // max(num_lanes, 1))
  most = max(1, min(most, jax.local_device_count()))
  return next(number for number in range(most, 0, -1) if batch_size % number == 0)


def environment(config: Config) -> dict[str, Any]:
  """What decides the last bits of a lane, besides the settings and the clips: for config.json.

  Args:
    config: of `tuning.settled`.
  """
  return {
    'versions': packages.versions(packages.TRAINING),
    'device': name(),
    'devices': jax.device_count(),
    'lowering': config.lowering,
    'lanes_at_once': config.lanes_at_once,
    'devices_per_lane': config.devices_per_lane,
  }


def name() -> str:
  """The name of the processor or accelerator: they round differently."""
  return _processor() if _on_cpu() else jax.devices()[0].device_kind


def memory_limit(config: Config, num_devices: int) -> int | None:
  """Bytes that each device may use; None: unknown.

  Args:
    num_devices: of this host, which share the memory of a CPU.
  """
  if config.memory_gib:
    return int(config.memory_gib * 2**30)
  if not _on_cpu():
    return (jax.local_devices()[0].memory_stats() or {}).get('bytes_limit')
  total = surroundings.memory()
  return None if total is None else total // num_devices


def resident_bytes(config: Config) -> int:
  """Largest size of a store that stays on the devices."""
  limit = None if _on_cpu() else memory_limit(config, 1)
  return RESIDENT_BYTES if limit is None else int(_RESIDENT_SHARE * limit)


def is_out_of_memory(error: Exception) -> bool:
  """Whether an error of JAX says that a device has no memory left."""
  return isinstance(error, jax.errors.JaxRuntimeError) and 'RESOURCE_EXHAUSTED' in str(error)


def _on_cpu() -> bool:
  return jax.default_backend() == 'cpu'


def _processor() -> str:
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
