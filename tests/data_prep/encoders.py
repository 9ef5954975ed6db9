"""Makes recordings of the kinds that people have, with the encoders of FFmpeg and libsndfile."""

import io

import av
import numpy as np
import soundfile

# Codec ('copy': of a FLAC file) and format; those with True give back every sample.
KINDS = {
  'm4a': ('aac', 'ipod', False),
  'mp4': ('aac', 'mp4', False),
  '3gp': ('aac', '3gp', False),
  'aac': ('aac', 'adts', False),
  'alac.m4a': ('alac', 'ipod', True),
  'webm': ('libopus', 'webm', False),
  'mka': ('copy', 'matroska', True),
  'mp3': ('libmp3lame', 'mp3', False),
  'mp2': ('mp2', 'mp2', False),
  'mp3.wav': ('libmp3lame', 'wav', False),
  'wma': ('wmav2', 'asf', False),
  'ac3': ('ac3', 'ac3', False),
  'flac.ogg': ('copy', 'ogg', True),
  'ima4.caf': ('adpcm_ima_qt', 'caf', False),
  'wv': ('wavpack', 'wv', True),
  'tta': ('tta', 'tta', True),
  'mov': ('pcm_s16le', 'mov', True),
  'avi': ('pcm_s16le', 'avi', True),
}


def encode(samples: np.ndarray, rate: int, codec: str, form: str, **options: str) -> bytes:
  """Encodes [samples] in -1..1 as a mono recording of 16 bits."""
  file = io.BytesIO()
  with av.open(file, 'w', format=form, options=options) as container:
    stream = container.add_stream(codec, rate=rate, layout='mono')
    context = stream.codec_context
    known = {each.name for each in context.codec.audio_formats}
    context.format = next((each for each in ('s16', 's16p') if each in known), context.format.name)
    context.bit_rate = 64000
    context.open()
    whole = np.round(np.asarray(samples) * 32767).astype(np.int16)[None]
    frame = av.AudioFrame.from_ndarray(whole, format='s16', layout='mono')
    frame.sample_rate = rate
    resampler = av.AudioResampler(context.format, 'mono', rate, context.frame_size or None)
    for part in [*resampler.resample(frame), *resampler.resample(None)]:
      container.mux(stream.encode(part))
    container.mux(stream.encode(None))
  return file.getvalue()


def of_kind(name: str, samples: np.ndarray, rate: int) -> bytes:
  """A recording of one of `KINDS`."""
  codec, form, _ = KINDS[name]
  return packed(samples, rate, form) if codec == 'copy' else encode(samples, rate, codec, form)


def packed(samples: np.ndarray, rate: int, form: str) -> bytes:
  """FLAC, made by libsndfile, in another format."""
  file = io.BytesIO()
  flac = by_libsndfile(np.round(samples * 32767) / 32768, rate, format='FLAC')
  with av.open(io.BytesIO(flac)) as source, av.open(file, 'w', format=form) as container:
    stream = container.add_stream_from_template(source.streams.audio[0])
    for packet in source.demux(audio=0):
      if packet.dts is not None:
        packet.stream = stream
        container.mux(packet)
  return file.getvalue()


def by_libsndfile(samples: np.ndarray, rate: int, **options) -> bytes:
  """Encodes [samples] or [samples, channels] with libsndfile."""
  file = io.BytesIO()
  soundfile.write(file, samples, rate, **options)
  return file.getvalue()
