"""What the heads of the paper's Tables 1 and 2 say of a corpus, and its Figure 3.

The paper gives the information entropy in bits/symbol and the zero-crossing rate in Hz,
each with a deviation, and no definition; ours is in `DEFINITIONS` and is printed with
the numbers, so they compare corpora with each other and not with the paper's.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep import files

if TYPE_CHECKING:
  from data_prep.store import Store

SYMBOLS = 256
DEFINITIONS = {
  'entropy': f"Shannon entropy, bits/symbol, of a clip's samples in {SYMBOLS} equal levels from -1 to 1",
  'crossings': "sign changes of a clip's samples per second, Hz, zero counting as positive",
  'over': "clips at the store's sample rate, before padding; the mean over clips, with its deviations",
}


def entropy(samples: np.ndarray) -> float:
  """Bits/symbol of samples [any] in -1..1 as 8-bit symbols; louder ones count as the outermost."""
  symbols = np.clip((samples + 1) * (SYMBOLS / 2), 0, SYMBOLS - 1).astype(np.uint8)
  shares = np.bincount(symbols, minlength=SYMBOLS) / max(1, len(samples))
  shares = shares[shares > 0]
  return float(max(0.0, -(shares * np.log2(shares)).sum()))


def crossings(samples: np.ndarray, sample_rate: int) -> float:
  """Sign changes a second of samples [any] at `sample_rate` Hz."""
  negative = samples < 0
  return float(np.count_nonzero(negative[1:] != negative[:-1]) * sample_rate / max(1, len(samples)))


def summary(entropies: np.ndarray, rates: np.ndarray) -> dict[str, Any]:
  """Mean, standard deviation and standard error over clips [clips] of both, with their definitions."""

  def of(values: np.ndarray) -> dict[str, float]:
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {
      'mean': float(np.mean(values)),
      'deviation': spread,
      'error': spread / len(values) ** 0.5,
    }

  return {'entropy': of(entropies), 'crossings': of(rates), 'definitions': DEFINITIONS}


def representative(mels: np.ndarray) -> int:
  """The position of the array of [clips, n_mels, frames] that is nearest to their mean."""
  mean = np.mean(mels, axis=0, dtype=np.float32)
  return int(np.argmin([np.square(each.astype(np.float32) - mean).mean() for each in mels]))


def figure(held: 'Store', path: Path, most: int = 40) -> None:
  """Writes a PNG: the representative clip of each class (the first `most`), and all values' distribution."""
  from matplotlib.figure import Figure

  classes = list(enumerate(held.classes))[:most]
  rows = -(-len(classes) // 8)
  columns = -(-len(classes) // rows)
  drawing = Figure(figsize=(max(8, 1.5 * columns + 1), 1.5 * rows + 2.6), layout='constrained')
  above, below = drawing.subfigures(2, 1, height_ratios=(1.5 * rows + 0.4, 2.2))
  axes = above.subplots(rows, columns, squeeze=False).ravel()
  low, high = np.quantile(
    held.mels[:: max(1, len(held.mels) // 500)].astype(np.float32), (0.01, 0.999)
  )
  features = held.features
  for axis in axes[len(classes) :]:
    axis.axis('off')
  for axis, (label, name) in zip(axes, classes):
    members = np.flatnonzero(held.labels == label)[:500]
    clip = held.mels[members[representative(held.mels[members])]]
    image = axis.imshow(
      clip.astype(np.float32), origin='lower', aspect='auto', cmap='magma', vmin=low, vmax=high
    )
    name = name.encode(errors='replace').decode()  # a folder's name may be no UTF-8
    axis.set_title(name if len(name) < 16 else f'{name[:14]}…', fontsize=8)
    axis.set_xticks([])
    axis.set_yticks([])
  bar = above.colorbar(image, ax=list(axes), shrink=0.8)
  bar.set_label('dB', fontsize=8)
  bar.ax.tick_params(labelsize=7)
  above.suptitle(
    f'{held.manifest["corpus"]}: the clip of each class nearest to its mean; {features.n_mels} Mel filters '
    f'to {features.fmax / 1000:g} kHz upwards, {features.clip_seconds:g} s',
    fontsize=9,
  )
  axis = below.subplots()
  edges = np.linspace(float(held.mels.min()), float(held.mels.max()) + 1e-3, 101)
  counts = sum(
    np.histogram(block, edges)[0] for block in np.array_split(held.mels, -(-len(held.mels) // 1000))
  )
  axis.stairs(counts / counts.sum() / np.diff(edges), edges, fill=True, color='#7a3b8f')
  axis.set_xlabel('log-Mel value, dB', fontsize=8)
  axis.set_ylabel('density, 1/dB', fontsize=8)
  axis.tick_params(labelsize=7)
  axis.spines[['top', 'right']].set_visible(False)
  axis.set_title('distribution of all values', fontsize=9)
  files.write_figure(path, drawing, dpi=130)
