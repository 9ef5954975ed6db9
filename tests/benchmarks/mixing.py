"""How far noise that is mixed into log-Mel arrays is from noise that is mixed into samples.

    python -m tests.benchmarks.mixing --clips_dir=DIR --noise_dir=DIR [--num_clips=200]

Every clip gets a window of noise twice at the same ratio: as samples, then the log-Mel; and as
powers of the log-Mel (`augment.mixed_db`), which leaves out the product of both spectra. For
comparison, the last columns mix the samples twice, with two other windows of the same recording:
how far apart equally good mixtures are.
"""

from pathlib import Path

import numpy as np
from absl import flags

from data_prep import audio, background, cli, mel
from data_prep.corpora import base
from data_prep.features import Features
from m3net_jax.study import augment, noise_bank
from m3net_jax.study.augment import Rule

_CLIPS_DIR = flags.DEFINE_string('clips_dir', None, 'folder of recordings', required=True)
_NOISE_DIR = flags.DEFINE_list('noise_dir', [], 'folders of noise (default: generated)')
_NUM_CLIPS = flags.DEFINE_integer('num_clips', 200, 'recordings taken, evenly spread')
SNRS = (30.0, 20.0, 10.0, 5.0, 0.0, -5.0)


def main(arguments: list[str], _: flags.FlagValues) -> None:
  cli.no_arguments(arguments)
  features = Features(n_mels=64, hop_length=253)
  rule = Rule(frozenset({'noise'}), features, mel.level_weights(features))
  noises = (
    background.recordings(_NOISE_DIR.value, features)
    if _NOISE_DIR.value
    else background.coloured(features)
  )
  paths = base.recordings(Path(_CLIPS_DIR.value))[0]
  chosen = [
    paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, _NUM_CLIPS.value).astype(int))
  ]
  rng = np.random.default_rng(0)
  print(f'{len(chosen)} clips, {len(noises)} noises, 64 filters x 64 frames; dB\n')
  print(f'{"SNR":>5}{"powers - samples":>18}{"":>10}{"":>10}{"samples, twice":>16}')
  print(f'{"":>5}{"mean":>18}{"absolute":>10}{"90 %":>10}{"absolute":>16}')
  rows: dict[float, list[np.ndarray]] = {snr: [] for snr in SNRS}
  for path in chosen:
    samples = audio.read(Path(_CLIPS_DIR.value) / path, features.sample_rate)
    clip = mel.fit_length(samples, features)
    noise = noises[rng.integers(len(noises))]
    window, other = (_window(rng, noise, features) for _ in range(2))
    power = noise_bank.make([background.Noise('', window, '')], features).powers[:1]
    for snr in SNRS:
      exact = mel.log_mel(background.mixed(clip, window, snr), features)
      again = mel.log_mel(background.mixed(clip, other, snr), features)
      mixed = augment.mixed_db(
        mel.log_mel(clip, features)[None], power, np.float32(snr), rule.level_weights
      )
      near = np.asarray(augment.floored(rule, mixed))[0]
      difference = near - exact
      rows[snr].append(
        [
          difference.mean(),
          np.abs(difference).mean(),
          np.quantile(np.abs(difference), 0.9),
          np.abs(again - exact).mean(),
        ]
      )
  for snr, values in rows.items():
    mean, absolute, most, twice = np.mean(values, 0)
    print(f'{snr:>5.0f}{mean:>+18.2f}{absolute:>10.2f}{most:>10.2f}{twice:>16.2f}')


def _window(rng: np.random.Generator, noise: background.Noise, features: Features) -> np.ndarray:
  while True:
    start = int(rng.integers(0, len(noise.samples) - features.num_samples + 1))
    window = noise.samples[start : start + features.num_samples]
    if background.level(window) > background.SILENT:
      return window


if __name__ == '__main__':
  cli.run(main)
