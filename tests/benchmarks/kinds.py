"""Ten recordings of every kind that ffmpeg can write, decoded by us and by ffmpeg.

    python -m tests.benchmarks.kinds

Needs the program ffmpeg. The recordings have different lengths, rates and channels. They also go
through `data_prep.prepare` and the command `predict`, which must leave none out. Prints a table.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from absl import app

from data_prep import audio, store
from data_prep.features import Features
from data_prep.prepare import prepare

COUNT = 10
MODEL = Path(__file__).parents[2] / 'models' / 'digits'
# Suffix of the file, and options of ffmpeg.
KINDS = {
  'WAV, 16 bits': ('wav', '-c:a pcm_s16le'),
  'WAV, 24 bits': ('wav', '-c:a pcm_s24le'),
  'WAV, float': ('wav', '-c:a pcm_f32le'),
  'WAV, A-law': ('wav', '-c:a pcm_alaw'),
  'WAV, MS ADPCM': ('wav', '-c:a adpcm_ms'),
  'WAV, IMA ADPCM': ('wav', '-c:a adpcm_ima_wav'),
  'WAV, MP3': ('wav', '-c:a libmp3lame'),
  'AIFF': ('aiff', ''),
  'AU': ('au', ''),
  'CAF, IMA4': ('caf', '-c:a adpcm_ima_qt'),
  'CAF, ALAC': ('caf', '-c:a alac'),
  'FLAC': ('flac', ''),
  'FLAC in OGG': ('ogg', '-c:a flac'),
  'Vorbis': ('ogg', '-c:a libvorbis'),
  'Opus': ('opus', '-c:a libopus'),
  'Opus in WebM': ('webm', '-c:a libopus'),
  'Vorbis in WebM': ('webm', '-c:a libvorbis'),
  'FLAC in Matroska': ('mka', '-c:a flac'),
  'MP3, constant rate': ('mp3', '-b:a 128k'),
  'MP3, variable rate': ('mp3', '-q:a 4'),
  'MP3, no Xing frame': ('mp3', '-b:a 128k -write_xing 0'),
  'MP2': ('mp2', ''),
  'AAC in MPEG-4': ('m4a', '-c:a aac'),
  'AAC in 3GP': ('3gp', '-c:a aac'),
  'AAC, bare': ('aac', ''),
  'ALAC in MPEG-4': ('m4a', '-c:a alac'),
  'PCM in QuickTime': ('mov', '-c:a pcm_s16le'),
  'WMA 1': ('wma', '-c:a wmav1'),
  'WMA 2': ('wma', '-c:a wmav2'),
  'AC-3': ('ac3', ''),
  'WavPack': ('wv', ''),
  'TTA': ('tta', ''),
  'AVI': ('avi', '-c:a pcm_s16le'),
  'FLV': ('flv', '-c:a aac'),
}
RATES = (16000, 22050, 32000, 44100, 48000)
OPUS_RATES = (16000, 24000, 48000)


def write(folder: Path, kind: str) -> list[Path]:
  """Writes ten recordings of a kind; none if ffmpeg lacks its encoder."""
  suffix, options = KINDS[kind]
  written = []
  for number in range(COUNT):
    rng = np.random.default_rng(number)
    rates = OPUS_RATES if 'Opus' in kind else (44100,) if suffix == 'flv' else RATES
    rate, channels = rates[number % len(rates)], 1 + number % 2
    times = np.arange(round(rate * rng.uniform(0.6, 3.0))) / rate
    tone = 0.3 * np.sin(2 * np.pi * (200 + 300 * times) * times)
    samples = tone[:, None] + 0.02 * rng.standard_normal((len(times), channels))
    original = folder / 'original.wav'
    soundfile.write(original, samples, rate, subtype='PCM_16')
    path = folder / f'{kind.replace(" ", "_").replace(",", "")}_{number}.{suffix}'
    command = ['ffmpeg', '-v', 'error', '-y', '-i', original, *options.split(), path]
    if subprocess.run(command, capture_output=True, check=False).returncode:
      path.unlink(missing_ok=True)
    else:
      written.append(path)
    original.unlink()
  return written


def compared(path: Path) -> tuple[int, float]:
  """Samples more than ffmpeg decodes, and the largest difference of the mean of the channels."""
  ours, rate = audio.decode(audio.load(path))
  probed = subprocess.run(
    ['ffprobe', '-v', 'error', '-select_streams', 'a', '-of', 'csv=p=0']
    + ['-show_entries', 'stream=channels', path],
    capture_output=True,
    text=True,
    check=True,
  )
  said = subprocess.run(
    ['ffmpeg', '-v', 'error', '-i', path, '-f', 'f32le', '-ar', str(rate), '-'],
    capture_output=True,
    check=True,
  )
  theirs = np.frombuffer(said.stdout, '<f4').reshape(-1, int(probed.stdout.split()[0])).mean(1)
  length = min(len(ours), len(theirs))
  return len(ours) - len(theirs), float(np.abs(ours[:length] - theirs[:length]).max())


def main(_) -> None:
  if not shutil.which('ffmpeg'):
    sys.exit('the program ffmpeg is not there: install it')
  with tempfile.TemporaryDirectory() as name:
    root = Path(name)
    print('| kind | recordings | other length than by ffmpeg | largest difference of a sample |')
    print('| --- | --- | --- | --- |')
    total = 0
    for number, kind in enumerate(KINDS):
      folder = root / 'raw' / f'class {number % 2}' / str(number)
      folder.mkdir(parents=True)
      paths = write(folder, kind)
      total += len(paths)
      found = [compared(path) for path in paths]
      others = [str(more) for more, _ in found if more]
      largest = max((difference for _, difference in found), default=float('nan'))
      said = f'{len(others)} ({", ".join(others[:3])})' if others else '0'
      print(f'| {kind} | {len(paths)} | {said} | {largest:.1e} |', flush=True)
    prepared = store.load(prepare('folder', root / 'raw', root / 'stores', Features()))
    print(f'\ndata_prep: {len(prepared.labels)} clips of {total}')
    predicted = subprocess.run(
      [sys.executable, '-m', 'm3net_jax.predict', f'--model={MODEL}', '--format=csv', '--top_k=1']
      + [str(root / 'raw')],
      capture_output=True,
      text=True,
      check=True,
    )
    names = {line.split(',')[0] for line in predicted.stdout.splitlines()[1:]}
    print(f'predict: {len(names)} recordings of {total}')


if __name__ == '__main__':
  app.run(main)
