"""Statistics of a corpus as in the heads of the paper's Tables 1 and 2, and its Figure 3.

The paper gives the information entropy in bits/symbol and the zero-crossing rate in Hz, each with
a deviation but without a definition. Our definitions are in `DEFINITIONS` and are printed with the
numbers: corpora measured here can be compared with each other, not with the paper's numbers.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep import files

if TYPE_CHECKING:
  from data_prep.store import Store

SYMBOLS = 256
DEFINITIONS = {
  'entropy': "Shannon entropy, bits/symbol, of a clip's samples in "
  f'{SYMBOLS} equal levels from -1 to 1',
  'crossings': "sign changes of a clip's samples per second, Hz; zero counts as positive",
  'over': "clips at the store's sample rate, before padding; mean over clips, with the deviations",
}


def entropy(samples: np.ndarray) -> float:
  """Bits/symbol of samples [any] in -1..1 as 8-bit symbols; louder samples are clipped."""
  symbols = np.clip((samples + 1) * (SYMBOLS / 2), 0, SYMBOLS - 1).astype(np.uint8)
  shares = np.bincount(symbols, minlength=SYMBOLS) / max(1, len(samples))
  shares = shares[shares > 0]
  return float(max(0.0, -(shares * np.log2(shares)).sum()))


def crossings(samples: np.ndarray, sample_rate: int) -> float:
  """Sign changes per second of samples [any] at `sample_rate` Hz."""
  negative = samples < 0
  return float(np.count_nonzero(negative[1:] != negative[:-1]) * sample_rate / max(1, len(samples)))


def summary(entropies: np.ndarray, rates: np.ndarray) -> dict[str, Any]:
  """Mean, standard deviation and standard error over clips, and the definitions.

  Args:
    entropies: [clips], see `entropy`.
    rates: [clips], see `crossings`.

  Returns:
    A dict with the keys 'mean', 'deviation' and 'error' for 'entropy' and for 'crossings', and
    `DEFINITIONS` for 'definitions'.
  """

  def spread(values: np.ndarray) -> dict[str, float]:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {
      'mean': float(np.mean(values)),
      'deviation': deviation,
      'error': deviation / len(values) ** 0.5,
    }

  return {'entropy': spread(entropies), 'crossings': spread(rates), 'definitions': DEFINITIONS}


def representative(mels: np.ndarray) -> int:
  """The position of the clip of [clips, n_mels, frames] that is nearest to the mean clip."""
  mean = np.mean(mels, axis=0, dtype=np.float32)
  return int(np.argmin([np.square(clip.astype(np.float32) - mean).mean() for clip in mels]))


def figure(store: 'Store', path: Path, max_classes: int = 40) -> None:
  """Writes a PNG: the representative clip of each class, and the distribution of all values.

  Args:
    store: the store to draw.
    path: of the PNG.
    max_classes: number of classes whose clip is drawn, from the first.
  """
  from matplotlib.figure import Figure

  classes = list(enumerate(store.classes))[:max_classes]
  rows = -(-len(classes) // 8)
  columns = -(-len(classes) // rows)
  drawing = Figure(figsize=(max(8, 1.5 * columns + 1), 1.5 * rows + 2.6), layout='constrained')
  above, below = drawing.subfigures(2, 1, height_ratios=(1.5 * rows + 0.4, 2.2))
  axes = above.subplots(rows, columns, squeeze=False).ravel()
  low, high = np.quantile(
    store.mels[:: max(1, len(store.mels) // 500)].astype(np.float32), (0.01, 0.999)
  )
  features = store.features
  for axis in axes[len(classes) :]:
    axis.axis('off')
  for axis, (label, name) in zip(axes, classes):
    members = np.flatnonzero(store.labels == label)[:500]
    clip = store.mels[members[representative(store.mels[members])]]
    image = axis.imshow(
      clip.astype(np.float32), origin='lower', aspect='auto', cmap='magma', vmin=low, vmax=high
    )
    name = name.encode(errors='replace').decode()  # a folder name may be invalid UTF-8
    axis.set_title(name if len(name) < 16 else f'{name[:14]}…', fontsize=8)
    axis.set_xticks([])
    axis.set_yticks([])
  bar = above.colorbar(image, ax=list(axes), shrink=0.8)
  bar.set_label('dB', fontsize=8)
  bar.ax.tick_params(labelsize=7)
  above.suptitle(
    f'{store.manifest["corpus"]}: the clip of each class nearest to the mean of the class; '
    f'{features.n_mels} Mel filters up to {features.fmax / 1000:g} kHz, '
    f'{features.clip_seconds:g} s',
    fontsize=9,
  )
  axis = below.subplots()
  edges = np.linspace(float(store.mels.min()), float(store.mels.max()) + 1e-3, 101)
  counts = sum(
    np.histogram(block, edges)[0]
    for block in np.array_split(store.mels, -(-len(store.mels) // 1000))
  )
  axis.stairs(counts / counts.sum() / np.diff(edges), edges, fill=True, color='#7a3b8f')
  axis.set_xlabel('log-Mel value, dB', fontsize=8)
  axis.set_ylabel('density, 1/dB', fontsize=8)
  axis.tick_params(labelsize=7)
  axis.spines[['top', 'right']].set_visible(False)
  axis.set_title('distribution of all values', fontsize=9)
  files.write_figure(path, drawing, dpi=130)
