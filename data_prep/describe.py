"""What a store holds, as a page of text."""

from data_prep import statistics
from data_prep.store import Store


def text(held: Store) -> str:
  """What a store holds, for people: a page of text at most 80 columns wide but for paths."""
  manifest, features = held.manifest, held.features
  n_mels, frames = features.shape
  values = held.mels[:: max(1, len(held.mels) // 1000)].astype('float32')
  most = max(manifest['counts'].values())
  groups = sorted({group for group in held.groups.tolist() if group})
  measured = statistics.summary(held.entropies, held.crossings)
  lines = [
    f'{held.path}',
    f'  corpus      {manifest["corpus"]}, from {manifest["raw_dir"]}',
    f'  clips       {len(held.labels)} of {manifest["num_recordings"]} recordings, '
    f'{len(held.classes)} classes',
    f'  features    log-Mel [{n_mels}, {frames}] in dB, {features.sample_rate} Hz, '
    f'{features.clip_seconds:g} s, n_fft {features.n_fft}, hop {features.hop_length}',
    f'  values      {values.min():.1f} to {values.max():.1f} dB, mean {values.mean():.1f}, '
    f'deviation {values.std():.1f}',
    f'  entropy     {_spread(measured["entropy"])} bits/symbol',
    f'  crossings   {_spread(measured["crossings"])} Hz',
    f'  length      {manifest["longer"]} clips longer (their end is cut), {manifest["shorter"]} shorter '
    f'({"repeated" if features.fit == "repeat" else "padded with silence"})',
    f'  groups      {len(groups)} speakers or recordings' if groups else '  groups      none known',
    f'  folds       {_counts(held.folds[held.folds > 0].tolist())}',
    f'  parts       {_counts([part for part in held.parts.tolist() if part])}',
    f'  identical   {len(held.hashes) - len(set(zip(held.hashes, held.paths)))} clips of one recording, '
    f'{_copies(held)} recordings that are byte-identical to another',
    f'  skipped     {len(manifest["skipped"])} unreadable recordings, '
    f'{len(manifest["ignored"])} other files ignored',
    f'  made with   {", ".join(f"{name} {number}" for name, number in manifest["versions"].items())}',
    f'  SHA-256     {manifest["files"]["mels.npy"]["sha256"]}',
    '  classes',
  ]
  width = max(len(name) for name in held.classes)
  for name in held.classes:
    count = manifest['counts'][name]
    lines.append(f'    {name:{width}} {count:6} {"#" * round(40 * count / most)}')
  for name, reason in list(manifest['skipped'].items())[:10]:
    lines.append(f'  skipped {name}: {reason}')
  lines += [
    '  definitions',
    *(f'    {name}: {text}' for name, text in measured['definitions'].items()),
  ]
  return '\n'.join(lines)


def _spread(of: dict[str, float]) -> str:
  return (
    f'{of["mean"]:.3f}, standard deviation {of["deviation"]:.3f}, standard error {of["error"]:.3f}'
  )


def _counts(values: list) -> str:
  return ', '.join(f'{value}: {values.count(value)}' for value in sorted(set(values))) or 'none'


def _copies(held: Store) -> int:
  first = dict(zip(held.paths.tolist(), held.hashes.tolist()))
  return len(first) - len(set(first.values()))
