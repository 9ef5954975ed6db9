"""Keras and PyTorch, each in a process of its own: in one, their compilers' copies of LLVM crash each other.

Knows nothing of JAX. What is asked of a framework travels by pipe, a fraction of a millisecond a call.
"""

import importlib
import importlib.util
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import numpy as np

MODULES = {'keras': ('tensorflow', 'keras'), 'pytorch': ('torch',)}  # what each needs
Images = list[
  tuple[np.ndarray, np.ndarray]
]  # batches: [batch, height, width, channels], labels [batch]
_TRIES = 3


class Ways(NamedTuple):
  """In which a framework trains and evaluates, of its `Run.WAYS`; and which do not work here, with the reason."""

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
    """The ways that take the least time once compiled."""
    return self._call(_choose)

  def load(self, weights: dict[str, np.ndarray]) -> None:
    """Takes over parameters and moving statistics by names such as 'mfp/align/bn/scale'."""
    self._call(_load, weights)

  def train(self, way: str, positions: list[int]) -> float:
    """A step on each of the batches; returns the first loss."""
    return self._call(_train, way, positions)

  def evaluate(self, way: str, positions: list[int]) -> np.ndarray:
    """The logits of each of the batches in inference mode; returns the first."""
    return self._call(_evaluate, way, positions)

  def differentiate(self, way: str, position: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Logits of a batch with its own statistics, and the gradient of its mean cross-entropy by every parameter."""
    return self._call(_differentiate, way, position)


def installed(name: str) -> bool:
  """Whether a framework can be imported."""
  return all(importlib.util.find_spec(module) for module in MODULES[name])


# Below is what runs in the framework's process; it has one run and its batches.
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
  return Ways(_faster(_run.train, failed), _faster(_run.evaluate, failed), failed)


def _faster(work: Any, failed: dict[str, str]) -> str:
  least = {}
  for way in _run.WAYS:
    try:
      np.asarray(work(way, _batches[0]))  # compiles
    except RuntimeError as error:  # torch.compile without a C++ compiler, for one
      failed[way] = str(error).strip().splitlines()[0]
      continue
    least[way] = min(_time(lambda: np.asarray(work(way, _batches[0]))) for _ in range(_TRIES))
  return min(least, key=least.get)


def _load(weights: dict[str, np.ndarray]) -> None:
  _run.load(weights)


def _train(way: str, positions: list[int]) -> float:
  return [float(loss) for loss in [_run.train(way, _batches[position]) for position in positions]][
    0
  ]


def _evaluate(way: str, positions: list[int]) -> np.ndarray:
  return [
    np.asarray(logits)
    for logits in [_run.evaluate(way, _batches[position]) for position in positions]
  ][0]


def _differentiate(way: str, position: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  return _run.differentiate(way, _batches[position])


def _time(work: Any) -> float:
  begun = time.perf_counter()
  work()
  return time.perf_counter() - begun
