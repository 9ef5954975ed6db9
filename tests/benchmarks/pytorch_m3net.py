"""M3Net in plain PyTorch, for comparison: channels-last, eager or with `torch.compile`.

The same network, padding and constants as in `m3net_jax.network.models.M3Net`. Weights and
gradients are numpy arrays in Keras's layout, with names such as 'mfp/align/bn/scale'.
"""

import logging

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from data_prep import workers

EPSILON, MOMENTUM = 1e-3, 0.1  # PyTorch's momentum is the weight of the new value
LEARNING_RATE = 1e-3
CHANNELS = 64

logging.getLogger('torch.utils.cpp_extension').setLevel(logging.ERROR)  # hides that there is no GPU

Batch = tuple[torch.Tensor, torch.Tensor]


class Conv(nn.Module):
  """3x3 convolution, batch norm, ReLU.

  A separable one has a depthwise convolution without bias and a pointwise one.
  """

  def __init__(self, inputs: int, features: int, stride: int, separable: bool):
    super().__init__()
    self.stride = stride
    padding = 1 if stride == 1 else 0  # for stride 2 it depends on the size, see `forward`
    if separable:
      self.depthwise = nn.Conv2d(inputs, inputs, 3, stride, padding, groups=inputs, bias=False)
      self.conv = nn.Conv2d(inputs, features, 1)
    else:
      self.depthwise = None
      self.conv = nn.Conv2d(inputs, features, 3, stride, padding)
    self.bn = nn.BatchNorm2d(features, eps=EPSILON, momentum=MOMENTUM)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    if self.stride == 2:
      # TensorFlow's SAME: an even size is padded at the end only.
      sides = [(0, 1) if size % 2 == 0 else (1, 1) for size in reversed(x.shape[2:])]
      x = functional.pad(x, [count for side in sides for count in side])
    if self.depthwise is not None:
      x = self.depthwise(x)
    return functional.relu(self.bn(self.conv(x)))

  def tensors(self) -> dict[str, torch.Tensor]:
    """Parameters and moving statistics by name."""
    kernels = (
      {'kernel': self.conv.weight}
      if self.depthwise is None
      else {'depthwise': self.depthwise.weight, 'pointwise': self.conv.weight}
    )
    return {
      **kernels,
      'bias': self.conv.bias,
      'bn/scale': self.bn.weight,
      'bn/bias': self.bn.bias,
      'bn/mean': self.bn.running_mean,
      'bn/var': self.bn.running_var,
    }


class M3Net(nn.Module):
  """The paper's full network: images [n, channels, height, width] to logits [n, classes]."""

  def __init__(self, channels: int, num_classes: int):
    super().__init__()
    self.stem = Conv(channels, CHANNELS // 2, 2, separable=False)
    self.sfp1 = Conv(CHANNELS // 2, CHANNELS, 2, separable=True)
    self.sfp2 = Conv(CHANNELS, CHANNELS, 2, separable=True)
    self.align = Conv(2 * CHANNELS, CHANNELS, 1, separable=True)
    self.mix = Conv(CHANNELS, CHANNELS, 1, separable=True)
    self.diagonal = Conv(CHANNELS, CHANNELS, 1, separable=True)
    self.eca = nn.Conv1d(1, 1, 3, padding=1, bias=False)
    self.head = nn.Linear(CHANNELS, num_classes)

  def forward(self, images: torch.Tensor) -> torch.Tensor:
    x = self.sfp2(self.sfp1(self.stem(images)))
    mirrored = self.align(torch.cat([x.flip(3), x.flip(2)], 1))
    mfp = self.mix(mirrored + x)
    dfp = self.diagonal(x.flip(2, 3))
    weights = torch.sigmoid(self.eca(dfp.mean((2, 3))[:, None]))[:, 0, :, None, None]
    return self.head((mfp * (dfp * weights)).mean((2, 3)))

  def tensors(self) -> dict[str, torch.Tensor]:
    """Parameters and moving statistics by name."""
    blocks = {
      'stem': self.stem,
      'sfp1': self.sfp1,
      'sfp2': self.sfp2,
      'mfp/align': self.align,
      'mfp/mix': self.mix,
      'dfp/conv': self.diagonal,
    }
    block_tensors = {
      f'{block}/{name}': tensor
      for block, conv in blocks.items()
      for name, tensor in conv.tensors().items()
    }
    return {
      **block_tensors,
      'dfp/eca/kernel': self.eca.weight,
      'head/kernel': self.head.weight,
      'head/bias': self.head.bias,
    }


class Run:
  """A training run: the network and its Adam. `WAYS` are the ways to run it."""

  WAYS = ('eager', 'compiled')

  def __init__(self, input_shape: tuple[int, int, int], num_classes: int):
    torch.set_num_threads(workers.num_cores())
    self._net = M3Net(input_shape[2], num_classes).to(memory_format=torch.channels_last)
    self._ways = dict(zip(self.WAYS, (self._net, torch.compile(self._net))))
    self._adam = torch.optim.Adam(self._net.parameters(), LEARNING_RATE, fused=True)

  def load(self, weights: dict[str, np.ndarray]) -> None:
    """Loads all parameters and moving statistics by name."""
    tensors = self._net.tensors()
    assert tensors.keys() == weights.keys(), tensors.keys() ^ weights.keys()
    with torch.no_grad():
      for name, tensor in tensors.items():
        tensor.copy_(torch.from_numpy(_to_torch(weights[name]).copy()))

  def batch(self, images: np.ndarray, labels: np.ndarray) -> Batch:
    """Converts images [n, height, width, channels] and labels [n] to tensors."""
    # The memory layout does not change: it is channels last.
    channels_last = torch.from_numpy(images.copy()).permute(0, 3, 1, 2)
    return channels_last, torch.from_numpy(labels.astype(np.int64))

  def train(self, way: str, batch: Batch) -> torch.Tensor:
    """Takes a step; returns the mean cross-entropy before the step."""
    _, loss = self._backward(way, batch)
    self._adam.step()
    return loss.detach()

  def evaluate(self, way: str, batch: Batch) -> torch.Tensor:
    """Logits in inference mode, with the moving statistics."""
    self._net.eval()
    with torch.no_grad():
      return self._ways[way](batch[0])

  def differentiate(self, way: str, batch: Batch) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Logits in training mode, and the gradient of the mean cross-entropy for every parameter."""
    logits, _ = self._backward(way, batch)
    return logits.detach().numpy(), {
      name: _from_torch(tensor.grad.numpy())
      for name, tensor in self._net.tensors().items()
      if tensor.requires_grad
    }

  def _backward(self, way: str, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    self._net.train()
    self._adam.zero_grad()
    logits = self._ways[way](batch[0])
    loss = functional.cross_entropy(logits, batch[1])
    loss.backward()
    return logits, loss


def _to_torch(array: np.ndarray) -> np.ndarray:
  """Converts a kernel [..., inputs, outputs] to PyTorch's [outputs, inputs, ...]."""
  return array if array.ndim == 1 else np.moveaxis(array, (-1, -2), (0, 1))


def _from_torch(array: np.ndarray) -> np.ndarray:
  """Converts a kernel [outputs, inputs, ...] of PyTorch to [..., inputs, outputs]."""
  return array if array.ndim == 1 else np.moveaxis(array, (0, 1), (-1, -2))
