"""Section `pytorch` of `tests.benchmarks.accelerator`: the same network and lanes in PyTorch.

models    one model after another (`pytorch_m3net`), eager or compiled; a step of L lanes counts as
          L steps of one model, because the models are equal
vmap      all models at once: `torch.func.vmap` over stacked parameters of the gradient of
          `functional_call`; batch norm takes the statistics of its batch and keeps no moving ones,
          which is less work than the engine's

Both take a step of Adam. On a CUDA device if there is one, else on the CPU. Section `speed` has the
same names of inputs, lanes and precisions.
"""

import copy
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from m3net_jax.network import image
from tests.benchmarks import engines, frameworks
from tests.benchmarks.card_sections import LeftOut, Log, Settings, Size, check_time

_CALLS, _ENOUGH = 20, 0.5  # timed steps at most, and seconds of them that are enough
_FIRST = {'models eager': 8.0, 'vmap eager': 8.0, 'models compiled': 60.0, 'vmap compiled': 60.0}
_CLOSE = 1e-2  # of the first loss: largest difference between the ways


def run(settings: Settings, log: Log, until: float, known: dict[str, Any]) -> None:
  """Times every input, number of lanes and precision in each way."""
  if not frameworks.installed('pytorch'):
    raise LeftOut('torch is not installed')
  import torch

  on_card = torch.cuda.is_available()
  device = torch.device('cuda' if on_card else 'cpu')
  precisions = [name for name in settings.precisions if name != 'bfloat16']
  log.row(
    'torch',
    version=torch.__version__,
    device=torch.cuda.get_device_name() if on_card else 'cpu',
  )
  # A CPU has one precision. The compiled ways come last: compiling takes longest.
  cells = [
    (way, size, lanes, precision)
    for way in _FIRST
    for size in settings.sizes
    for lanes in (settings.lanes if way.startswith('vmap') else (1,))
    for precision in (precisions if on_card else precisions[:1])
    if lanes == settings.study_lanes or way.endswith('eager') or not way.startswith('vmap')
  ]
  names = [
    f'{"x".join(map(str, size.input_shape))} {lanes} lanes {way} {precision}'
    for way, size, lanes, precision in cells
  ]
  log.plan(names)
  rates: dict[tuple, float] = {}
  first: dict[Size, float] = {}
  for name, (way, size, lanes, precision) in zip(names, cells):
    with log.attempt(name):
      rate = rates.get((way, size, precision), 0.0)
      check_time(until, _FIRST[way] + _CALLS / 4 * rate * lanes)
      torch.backends.cuda.matmul.allow_tf32 = precision == 'tf32'
      torch.backends.cudnn.allow_tf32 = precision == 'tf32'
      if on_card:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
      step, synchronise = _steps(way, size, lanes, device)
      seconds, loss = _time(step, synchronise, until)
      rates[way, size, precision] = max(seconds / lanes, rate)
      used = torch.cuda.max_memory_allocated() if on_card else None
      del step
      # All ways have the same weights and clips.
      equal = abs(loss - first.setdefault(size, loss)) <= _CLOSE * first[size]
      values = {'loss': loss, 'equal': equal, 'used_bytes': used}
      _row(log, settings, name, size, lanes, precision, way, seconds, values)


def _row(
  log: Log,
  settings: Settings,
  name: str,
  size: Size,
  lanes: int,
  precision: str,
  way: str,
  seconds: float,
  values: dict[str, Any],
) -> None:
  """Adds the row of a cell; of one model after another also those of all other numbers of lanes."""
  common = {
    'input_shape': list(size.input_shape),
    'batch': size.batch,
    'precision': precision,
    'way': way,
    **values,
  }
  log.row(name, lanes=lanes, seconds=seconds, **common)
  if way.startswith('models'):
    for count in settings.lanes:
      if count != lanes:
        log.row(
          name.replace('1 lanes', f'{count} lanes'), lanes=count, seconds=count * seconds, **common
        )


def _time(
  step: Callable[[], Any], synchronise: Callable[[], Any], until: float
) -> tuple[float, float]:
  """Seconds of a step and the first loss of the first lane."""
  loss = float(np.asarray(step().detach().float().cpu()).ravel()[0])  # it may compile
  step()
  synchronise()
  begin, count = time.perf_counter(), 0
  while count < _CALLS and time.perf_counter() - begin < _ENOUGH and time.monotonic() < until:
    step()
    count += 1
    if count == 1:
      synchronise()  # a step may be slow: a queue of twenty of them would be too long
  synchronise()
  if not np.isfinite(loss):
    raise FloatingPointError('the loss is not finite')
  return (time.perf_counter() - begin) / max(count, 1), loss


def _steps(way: str, size: Size, lanes: int, device) -> tuple[Callable, Callable]:
  """A function that takes a step and returns the losses, and one that waits for the device."""
  import torch

  data = engines.make_data(size.batch)
  mels = data.clips.mels[data.batches[0]]
  images = image.to_image(
    mels, size.input_shape, engines.SCALING, channels='magma', normalisation='train'
  )
  images = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).to(device)
  labels = torch.from_numpy(data.clips.labels[data.batches[0]].astype(np.int64)).to(device)
  compiled = way.endswith('compiled')
  make = model_step if way.startswith('models') else vmap_step
  step = make(size.input_shape[2], lanes, images, labels, device, compiled)
  return step, torch.cuda.synchronize if device.type == 'cuda' else lambda: None


def model_step(channels: int, lanes: int, images, labels, device, compiled: bool) -> Callable:
  """A step of one model: channels-last, Adam fused."""
  import torch
  from torch.nn import functional

  from tests.benchmarks import pytorch_m3net

  torch.manual_seed(0)
  net = pytorch_m3net.M3Net(channels, engines.CLASSES).to(device)
  net = net.to(memory_format=torch.channels_last).train()
  images = images.contiguous(memory_format=torch.channels_last)
  adam = torch.optim.Adam(net.parameters(), pytorch_m3net.LEARNING_RATE, fused=True)
  forward = torch.compile(net) if compiled else net

  def step():
    adam.zero_grad()
    loss = functional.cross_entropy(forward(images), labels)
    loss.backward()
    adam.step()
    return loss

  return step


def vmap_step(channels: int, lanes: int, images, labels, device, compiled: bool) -> Callable:
  """A step of all models at once. The models are equal at first, and so are their batches."""
  import torch
  from torch import func
  from torch.nn import functional

  from tests.benchmarks import pytorch_m3net

  torch.manual_seed(0)
  net = pytorch_m3net.M3Net(channels, engines.CLASSES).to(device).train()
  # vmap cannot write moving statistics: without them batch norm is a pure function.
  func.replace_all_batch_norm_modules_(net)
  params, buffers = func.stack_module_state([copy.deepcopy(net) for _ in range(lanes)])
  batches = images.expand(lanes, *images.shape).contiguous()
  answers = labels.expand(lanes, *labels.shape).contiguous()

  def loss_of(params, buffers, images, labels):
    logits = func.functional_call(net, (params, buffers), (images,))
    return functional.cross_entropy(logits, labels)

  gradient = func.vmap(func.grad_and_value(loss_of))
  gradient = torch.compile(gradient) if compiled else gradient
  leaves = [value.requires_grad_() for value in params.values()]
  adam = torch.optim.Adam(leaves, pytorch_m3net.LEARNING_RATE, fused=True)

  def step():
    detached = {name: value.detach() for name, value in params.items()}
    gradients, losses = gradient(detached, buffers, batches, answers)
    for name, value in params.items():
      value.grad = gradients[name]
    adam.step()
    return losses

  return step
