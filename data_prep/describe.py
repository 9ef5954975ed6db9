"""Describes a store as a page of text."""

from data_prep import statistics
from data_prep.store import Store


def text(store: Store) -> str:
  """A page of text about a store, at most 80 columns wide except for paths."""
  manifest, features = store.manifest, store.features
  n_mels, frames = features.shape
  values = store.mels[:: max(1, len(store.mels) // 1000)].astype('float32')
  most = max(manifest['counts'].values())
  groups = sorted({group for group in store.groups.tolist() if group})
  versions = ', '.join(f'{name} {number}' for name, number in manifest['versions'].items())
  measured = statistics.summary(store.entropies, store.crossings)
  lines = [
    f'{store.path}',
    f'  corpus      {manifest["corpus"]}, from {manifest["raw_dir"]}',
    f'  clips       {len(store.labels)} of {manifest["num_recordings"]} recordings, '
    f'{len(store.classes)} classes',
    f'  features    log-Mel [{n_mels}, {frames}] in dB, {features.sample_rate} Hz, '
    f'{features.clip_seconds:g} s, n_fft {features.n_fft}, hop {features.hop_length}',
    f'  values      {values.min():.1f} to {values.max():.1f} dB, mean {values.mean():.1f}, '
    f'deviation {values.std():.1f}',
    f'  entropy     {_spread(measured["entropy"])} bits/symbol',
    f'  crossings   {_spread(measured["crossings"])} Hz',
    f'  length      {manifest["longer"]} clips longer (their end is cut), '
    f'{manifest["shorter"]} shorter '
    f'({"repeated" if features.fit == "repeat" else "padded with silence"})',
    f'  groups      {len(groups)} speakers or recordings' if groups else '  groups      none known',
    f'  folds       {_counts(store.folds[store.folds > 0].tolist())}',
    f'  parts       {_counts([part for part in store.parts.tolist() if part])}',
    f'  identical   {len(store.hashes) - len(set(zip(store.hashes, store.paths)))} clips of one '
    f'recording, {_copies(store)} recordings that are byte-identical to another',
    f'  skipped     {len(manifest["skipped"])} unreadable recordings, '
    f'{len(manifest["ignored"])} other files ignored',
    f'  made with   {versions}',
    f'  SHA-256     {manifest["files"]["mels.npy"]["sha256"]}',
    '  classes',
  ]
  width = max(len(name) for name in store.classes)
  for name in store.classes:
    count = manifest['counts'][name]
    lines.append(f'    {name:{width}} {count:6} {"#" * round(40 * count / most)}')
  for name, reason in list(manifest['skipped'].items())[:10]:
    lines.append(f'  skipped {name}: {reason}')
  lines += [
    '  definitions',
    *(f'    {name}: {text}' for name, text in measured['definitions'].items()),
  ]
  return '\n'.join(lines)


def _spread(summary: dict[str, float]) -> str:
  return (
    f'{summary["mean"]:.3f}, standard deviation {summary["deviation"]:.3f}, '
    f'standard error {summary["error"]:.3f}'
  )


def _counts(values: list) -> str:
  return ', '.join(f'{value}: {values.count(value)}' for value in sorted(set(values))) or 'none'


def _copies(store: Store) -> int:
  """The number of recordings that are byte-identical to another one."""
  hashes = dict(zip(store.paths.tolist(), store.hashes.tolist()))
  return len(hashes) - len(set(hashes.values()))
