"""Functions over the lane axis, and the devices that share the lanes."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from m3net_jax.study.input_pipeline import Clips


def lane_mesh(num_lanes: int) -> Mesh:
  """The devices that share `num_lanes` lanes, as a mesh with the axis 'lanes'.

  At least two devices if there are two: for a single device XLA picks other vector sizes, and a
  lane alone would differ in its last bits from the same lane among others.
  """
  devices = jax.devices()
  return Mesh(np.array(devices[: min(len(devices), max(num_lanes, 2))]), ('lanes',))


def padded(num_lanes: int, mesh: Mesh) -> int:
  """Rounds `num_lanes` up to a multiple of the number of devices; the extra lanes are discarded."""
  return -(-num_lanes // mesh.size) * mesh.size


def over_lanes(
  function: Callable[..., Any], *, lanes_at_once: int, mesh: Mesh, donate: bool = False
) -> Callable[..., Any]:
  """Compiles `function(lane, clips, order)` over the leading axis of the lanes and the order.

  Args:
    function: the computation of one lane; all lanes share `clips`.
    lanes_at_once: lanes that a device works on together; 1 means one after another.
    mesh: devices with the axis 'lanes'; the number of lanes is a multiple of their number.
    donate: reuse the memory of the lanes for the result.
  """

  def mapped(lanes: Any, clips: Clips, order: jax.Array) -> Any:
    run_lane = lambda lane_and_order: function(lane_and_order[0], clips, lane_and_order[1])
    # Not a vmap over one lane: it would compute both sides of every conditional.
    batch_size = lanes_at_once if lanes_at_once > 1 else None
    return lax.map(run_lane, (lanes, order), batch_size=batch_size)

  split, shared = PartitionSpec('lanes'), PartitionSpec()
  sharded = jax.shard_map(
    mapped, mesh=mesh, in_specs=(split, shared, split), out_specs=split, check_vma=False
  )
  return jax.jit(sharded, donate_argnums=(0,) if donate else ())


def planned_bytes(compiled: jax.stages.Compiled) -> int:
  """Memory that a compiled program needs on a device, as the compiler plans it, in bytes."""
  memory = compiled.memory_analysis()
  return (
    memory.argument_size_in_bytes
    + memory.output_size_in_bytes
    - memory.alias_size_in_bytes
    + memory.temp_size_in_bytes
  )
