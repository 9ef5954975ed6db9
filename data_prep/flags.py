"""The flags that say which corpus becomes which store; shared by every command that may prepare one."""
from pathlib import Path

from absl import flags

from data_prep import corpora
from data_prep import prepare as preparation
from data_prep.mel import PRESETS, Features

_CORPUS = flags.DEFINE_enum(
    'corpus', 'synthetic_commands', corpora.NAMES,
    'the recordings to use; "folder" is your own with a folder a class, "csv" your own with a '
    'clips.csv, "synthetic_commands" is spoken by a program and needs no recordings')
_RAW_DIR = flags.DEFINE_string(
    'raw_dir', 'corpora',
    'where the recordings are: this folder itself, or its subfolder named as the corpus, '
    'where downloads go')
_STORE_DIR = flags.DEFINE_string('store_dir', 'stores',
                                 'the folder of stores (the features, made once a setting)')
_CLIP_SECONDS = flags.DEFINE_float(
    'clip_seconds', None,
    'length of a clip, in seconds: shorter ones are padded or repeated, longer ones cut '
    '(default: the corpus\'s own, 1 for words and folders, 4 or 5 for sounds)')
_PRESET = flags.DEFINE_enum(
    'preset', 'section_2.1', PRESETS,
    'features of a section of the paper, for the four flags below where they are not given: 128 filters, n_fft and hop '
    '512, at 16000 Hz (section_2.1) or 44100 Hz (section_3.1)')
_SAMPLE_RATE = flags.DEFINE_integer('sample_rate', None, 'rate to which all recordings are resampled, in Hz')
_N_FFT = flags.DEFINE_integer('n_fft', None, 'samples in a frame of the Mel spectrogram')
_HOP_LENGTH = flags.DEFINE_integer('hop_length', None, 'samples from one frame to the next')
_N_MELS = flags.DEFINE_integer('n_mels', None, 'Mel filters, the height of the spectrogram')
_SKIP_UNREADABLE = flags.DEFINE_bool(
    'skip_unreadable', False, 'leave out recordings that cannot be decoded, and list them in the manifest, '
    'instead of stopping')
_DOWNLOAD = flags.DEFINE_bool('download', False, 'fetch the corpus where it is absent')
_NUM_PROCESSES = flags.DEFINE_integer('num_processes',
                                      None,
                                      'processes that compute features (default: one a core)',
                                      lower_bound=1)


def features_from_flags() -> Features:
  """The features that the flags ask for; UserError naming the flag that cannot be."""
  corpus = corpora.get(_CORPUS.value)
  seconds = corpus.CLIP_SECONDS if _CLIP_SECONDS.value is None else _CLIP_SECONDS.value
  given = {flag.name: flag.value for flag in (_SAMPLE_RATE, _N_FFT, _HOP_LENGTH, _N_MELS) if flag.value is not None}
  return Features(**{**PRESETS[_PRESET.value], **given}, clip_seconds=seconds, fit=corpus.FIT)


def prepare_from_flags() -> Path:
  """Prepares the store that the flags ask for, where it is not there; returns its folder."""
  return preparation.prepare(_CORPUS.value, _RAW_DIR.value, _STORE_DIR.value, features_from_flags(),
                             skip_unreadable=_SKIP_UNREADABLE.value, download=_DOWNLOAD.value,
                             num_processes=_NUM_PROCESSES.value)
