"""Functions over the lane axis, and the devices of all hosts that share the lanes.

A mesh has three axes: 'hosts' (processes), 'lanes' (lanes of a host), 'batch' (devices that share
the batches of a lane). Nothing is sent between hosts or lanes while lanes are trained.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from m3net_jax.study.input_pipeline import Clips


def make_mesh(num_lanes: int, devices_per_lane: int = 1) -> Mesh:
  """The devices that share `num_lanes` lanes; every host has as many.

  At least two devices if there are two: for a single device XLA picks other vector sizes, and a
  lane alone would differ in its last bits from the same lane among others.

  Args:
    devices_per_lane: devices that share the batches of a lane; as many as a host has, at most.
  """
  hosts = jax.process_count()
  devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
  of_host = np.array(devices).reshape(hosts, -1)
  devices_per_lane = min(devices_per_lane, of_host.shape[1])
  columns = min(of_host.shape[1] // devices_per_lane, max(-(-num_lanes // hosts), 2))
  used = of_host[:, : columns * devices_per_lane]
  return Mesh(used.reshape(hosts, columns, devices_per_lane), ('hosts', 'lanes', 'batch'))


def lane_devices(mesh: Mesh) -> int:
  """Groups of devices that have lanes of their own."""
  return mesh.shape['hosts'] * mesh.shape['lanes']


def _over_lanes(mesh: Mesh) -> PartitionSpec:
  """A leading axis of lanes. JAX names no axis of size 1, so that a result has this form too."""
  axes = tuple(axis for axis in ('hosts', 'lanes') if mesh.shape[axis] > 1)
  return PartitionSpec(axes if len(axes) > 1 else axes[0]) if axes else PartitionSpec()


def padded(num_lanes: int, mesh: Mesh) -> int:
  """Rounds `num_lanes` up to a multiple of `lane_devices`; the extra lanes are discarded."""
  return -(-num_lanes // lane_devices(mesh)) * lane_devices(mesh)


def place_lanes(tree: Any, mesh: Mesh) -> Any:
  """Puts arrays with a leading axis of all lanes, equal on all hosts, on the devices."""
  sharding = NamedSharding(mesh, _over_lanes(mesh))
  if jax.process_count() == 1:
    return jax.device_put(tree, sharding)

  def place(leaf: Any) -> jax.Array:
    values = np.asarray(leaf)
    return jax.make_array_from_callback(values.shape, sharding, lambda part: values[part])

  return jax.tree.map(place, tree)


def place_clips(tree: Any, mesh: Mesh) -> Any:
  """Puts arrays that all lanes of a host share on its devices.

  With several hosts they have a leading axis of hosts, on which each host has put its own.
  """
  if jax.process_count() == 1:
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))
  sharding = NamedSharding(mesh, PartitionSpec('hosts'))
  return jax.tree.map(
    lambda leaf: jax.make_array_from_process_local_data(sharding, np.asarray(leaf)[None]), tree
  )


def fetch(tree: Any) -> Any:
  """The values of arrays on the devices as numpy arrays; of all hosts, on all hosts."""
  if jax.process_count() > 1:
    tree = multihost_utils.process_allgather(tree, tiled=True)
  return jax.tree.map(np.asarray, tree)


def share_batch(images: jax.Array, mesh: Mesh) -> jax.Array:
  """Lets the devices of a lane share its images [batch, ...]; XLA splits what follows from them."""
  if mesh.shape['batch'] == 1:
    return images
  return lax.with_sharding_constraint(images, PartitionSpec('batch'))


def over_lanes(
  function: Callable[..., Any], *, lanes_at_once: int, mesh: Mesh, donate: bool = False
) -> Callable[..., Any]:
  """Compiles `function(lane, clips, order)` over the leading axis of the lanes and the order.

  Args:
    function: the computation of one lane; all lanes of a host share `clips`.
    lanes_at_once: lanes that a device works on together; 1 means one after another.
    mesh: of `make_mesh`; the number of lanes is a multiple of `lane_devices`.
    donate: reuse the memory of the lanes for the result.
  """
  several_hosts, split = mesh.shape['hosts'] > 1, _over_lanes(mesh)

  def mapped(lanes: Any, clips: Clips, order: jax.Array) -> Any:
    own = jax.tree.map(lambda leaf: leaf[0], clips) if several_hosts else clips
    run_lane = lambda lane_and_order: function(lane_and_order[0], own, lane_and_order[1])
    # Not a vmap over one lane: it would compute both sides of every conditional.
    batch_size = lanes_at_once if lanes_at_once > 1 else None
    return lax.map(run_lane, (lanes, order), batch_size=batch_size)

  sharded = jax.shard_map(
    mapped,
    mesh=mesh,
    in_specs=(split, PartitionSpec('hosts') if several_hosts else PartitionSpec(), split),
    out_specs=split,
    # How devices share a batch is left to XLA, so that batch norm is over the complete batch.
    axis_names={'hosts', 'lanes'} if mesh.shape['batch'] > 1 else {'hosts', 'lanes', 'batch'},
    check_vma=False,
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
