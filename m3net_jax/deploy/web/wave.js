// Recordings as samples at the model's rate.

// The samples {rate, samples} of a WAV file of 16-bit PCM, the mean of its channels; null if the
// file is anything else. As data_prep/audio.py, so that no browser changes a value.
export function plainWave(buffer) {
  const view = new DataView(buffer);
  const tag = (at) => String.fromCharCode(...new Uint8Array(buffer, at, 4));
  if (view.byteLength < 12 || tag(0) !== 'RIFF' || tag(8) !== 'WAVE') return null;
  let layout = null;
  for (let at = 12; at + 8 <= view.byteLength;) {
    const kind = tag(at);
    const size = view.getUint32(at + 4, true);
    if (kind === 'fmt ' && size >= 16 && at + 24 <= view.byteLength) {
      const [format, channels] = [view.getUint16(at + 8, true), view.getUint16(at + 10, true)];
      const [align, bits] = [view.getUint16(at + 20, true), view.getUint16(at + 22, true)];
      if (!channels || format !== 1 || bits !== 16 || align !== 2 * channels) return null;
      layout = {channels, rate: view.getUint32(at + 12, true)};
    }
    if (kind === 'data') {
      const count = layout && size / (2 * layout.channels);
      if (!count || !Number.isInteger(count) || at + 8 + size > view.byteLength) return null;
      const {channels, rate} = layout;
      const samples = new Float32Array(count);
      for (let i = 0; i < count; ++i) {
        let sum = 0;
        for (let c = 0; c < channels; ++c) {
          sum += view.getInt16(at + 8 + 2 * (i * channels + c), true);
        }
        samples[i] = sum / channels / 32768;
      }
      return {rate, samples};
    }
    at += 8 + size + (size % 2);
  }
  return null;
}

// Samples at `rate` Hz of any recording that the browser decodes, and the rate of a WAV file that it
// resampled, or 0.
export async function decode(buffer, rate) {
  const plain = plainWave(buffer);
  if (plain && plain.rate === rate) return {samples: plain.samples, resampled: 0};
  const decoded = await new OfflineAudioContext(1, 1, rate).decodeAudioData(buffer.slice(0));
  const channels = Array.from({length: decoded.numberOfChannels}, (_, c) => decoded.getChannelData(c));
  const samples = channels[0].map((_, i) =>
    channels.reduce((sum, channel) => sum + channel[i], 0) / channels.length);
  return {samples, resampled: plain ? plain.rate : 0};
}
