"""Keras and PyTorch, each in its own process.

In one process, the copies of LLVM of their compilers crash each other. A call goes through a pipe,
which takes a fraction of a millisecond.
"""

import importlib
import importlib.util
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import numpy as np

MODULES = {'keras': ('tensorflow', 'keras'), 'pytorch': ('torch',)}  # packages
Images = list[tuple[np.ndarray, np.ndarray]]  # [batch, height, width, channels], labels [batch]
_TRIES = 3


class Ways(NamedTuple):
  """How a framework runs.

  Attributes:
    train: the way to train, one of `Run.WAYS` of the framework.
    evaluate: the way to evaluate, one of `Run.WAYS`.
    failed: the reason for each way that does not work on this computer.
  """

  train: str
  evaluate: str
  failed: dict[str, str]


class Framework:
  """One training run of a framework, in its own process."""

  def __init__(self, name: str, num_classes: int, batches: Images):
    self.name = name
    self._pool = ProcessPoolExecutor(
      1, multiprocessing.get_context('spawn'), _start, (name, num_classes, batches)
    )
    self._call = lambda *call: self._pool.submit(*call).result()

  def close(self) -> None:
    self._pool.shutdown()

  def choose(self) -> Ways:
    """The fastest ways to train and to evaluate, after compiling."""
    return self._call(_choose)

  def load(self, weights: dict[str, np.ndarray]) -> None:
    """Loads parameters and moving statistics by names such as 'mfp/align/bn/scale'."""
    self._call(_load, weights)

  def train(self, way: str, positions: list[int]) -> float:
    """Takes a step on each of the batches; returns the first loss."""
    return self._call(_train, way, positions)

  def evaluate(self, way: str, positions: list[int]) -> np.ndarray:
    """Computes the logits of each batch in inference mode; returns those of the first."""
    return self._call(_evaluate, way, positions)

  def differentiate(self, way: str, position: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Logits of a batch in training mode, and the gradient of its loss for every parameter."""
    return self._call(_differentiate, way, position)


def installed(name: str) -> bool:
  """Whether a framework can be imported."""
  return all(importlib.util.find_spec(module) for module in MODULES[name])


# The rest runs in the framework's process, which has one run and its batches.
_run: Any = None
_batches: list[Any] = []


def _start(name: str, num_classes: int, batches: Images) -> None:
  global _run
  _run = importlib.import_module(f'tests.benchmarks.{name}_m3net').Run(
    batches[0][0].shape[1:], num_classes
  )
  _batches.extend(_run.batch(*batch) for batch in batches)


def _choose() -> Ways:
  failed: dict[str, str] = {}
  return Ways(_fastest(_run.train, failed), _fastest(_run.evaluate, failed), failed)


def _fastest(work: Any, failed: dict[str, str]) -> str:
  seconds = {}
  for way in _run.WAYS:
    try:
      np.asarray(work(way, _batches[0]))  # compiles
    except RuntimeError as error:  # such as torch.compile without a C++ compiler
      failed[way] = str(error).strip().splitlines()[0]
      continue
    seconds[way] = min(_time(lambda: np.asarray(work(way, _batches[0]))) for _ in range(_TRIES))
  return min(seconds, key=seconds.get)


def _load(weights: dict[str, np.ndarray]) -> None:
  _run.load(weights)


def _train(way: str, positions: list[int]) -> float:
  losses = [_run.train(way, _batches[position]) for position in positions]
  return [float(loss) for loss in losses][0]


def _evaluate(way: str, positions: list[int]) -> np.ndarray:
  logits = [_run.evaluate(way, _batches[position]) for position in positions]
  return [np.asarray(array) for array in logits][0]


def _differentiate(way: str, position: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  return _run.differentiate(way, _batches[position])


def _time(work: Any) -> float:
  start = time.perf_counter()
  work()
  return time.perf_counter() - start
