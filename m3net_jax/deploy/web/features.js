// From samples to the int8 input of the network, with the tables of constants.json: what
// data_prep/mel.py, network/image.py and runtimes.py compute.

// Columns of the log-Mel spectrogram, and images of them.
export class FrontEnd {
  constructor(constants) {
    this.constants = constants;
    this.fourier = new Fourier(constants.n_fft);
    this.power = new Float64Array(constants.n_fft / 2 + 1);
    this.before = constants.center ? constants.n_fft / 2 : 0;
  }

  // Decibels [n_mels] of one frame, without the range below the loudest value.
  // `from`: position of the frame's first sample; samples outside [low, high) count as zeros.
  column(samples, from, low, high) {
    const {n_fft, n_mels, window, filters, least_power, reference_decibels} = this.constants;
    const {real, imaginary} = this.fourier;
    for (let i = 0; i < n_fft; ++i) {
      const at = from + i;
      real[i] = at >= low && at < high ? samples[at] * window[i] : 0;
    }
    imaginary.fill(0);
    this.fourier.transform();
    for (let bin = 0; bin <= n_fft / 2; ++bin) {
      this.power[bin] = real[bin] * real[bin] + imaginary[bin] * imaginary[bin];
    }
    const decibels = new Float32Array(n_mels);
    const {bounds, bins, weights} = filters;
    for (let mel = 0; mel < n_mels; ++mel) {
      let power = 0;
      for (let i = bounds[mel]; i < bounds[mel + 1]; ++i) power += weights[i] * this.power[bins[i]];
      decibels[mel] = 10 * Math.log10(Math.max(power, least_power)) - reference_decibels;
    }
    return decibels;
  }

  // Columns [frames] of a clip [num_samples]: frame i begins at i * hop_length - before.
  columns(clip) {
    const {frames, hop_length} = this.constants;
    return Array.from({length: frames}, (_, i) =>
      this.column(clip, i * hop_length - this.before, 0, clip.length));
  }

  // The int8 input [height * width * channels] of the columns of a window.
  input(columns) {
    const {n_mels, frames, height, width, channels, range_decibels} = this.constants;
    const x = new Float32Array(n_mels * frames);
    let loudest = -Infinity;
    for (const column of columns) for (const value of column) loudest = Math.max(loudest, value);
    const least = range_decibels > 0 ? loudest - range_decibels : -Infinity;
    for (let frame = 0; frame < frames; ++frame) {
      for (let mel = 0; mel < n_mels; ++mel) {
        x[mel * frames + frame] = Math.max(columns[frame][mel], least);
      }
    }
    const picture = this.constants.normalisation === 'picture';
    this.normalise(x);
    const planes = [x];
    if (channels === 3 && !picture) planes.push(this.delta(x, 0), this.delta(x, 1));
    const resized = planes.map((plane) => this.resize(plane));
    const input = new Int8Array(height * width * channels);
    for (let pixel = 0; pixel < height * width; ++pixel) {
      const colour = picture ? this.colour(resized[0][pixel]) : null;
      for (let channel = 0; channel < channels; ++channel) {
        input[pixel * channels + channel] =
          this.quantised(colour ? colour[channel] : resized[channel][pixel]);
      }
    }
    return input;
  }

  normalise(x) {
    const {normalisation, mean, std, floor} = this.constants;
    let shift = mean;
    let divide = std;
    if (normalisation === 'picture') {
      shift = x.reduce((a, b) => Math.min(a, b));
      divide = Math.max(x.reduce((a, b) => Math.max(a, b)) - shift, floor);
    } else if (normalisation === 'clip') {
      shift = x.reduce((a, b) => a + b) / x.length;
      divide = Math.sqrt(x.reduce((sum, value) => sum + (value - shift) ** 2, 0) / x.length);
      divide = Math.max(divide, floor);
    }
    for (let i = 0; i < x.length; ++i) x[i] = (x[i] - shift) / divide;
  }

  // The first (order 0) or second difference in time; the edge values go on.
  delta(x, order) {
    const {n_mels, frames, deltas} = this.constants;
    const taps = deltas[order];
    const half = (taps.length - 1) / 2;
    return Float32Array.from({length: n_mels * frames}, (_, i) => {
      const frame = i % frames;
      const row = i - frame;
      return taps.reduce((sum, tap, t) =>
        sum + tap * x[row + Math.min(Math.max(frame + t - half, 0), frames - 1)], 0);
    });
  }

  resize(x) {
    const {n_mels, frames, height, width, rows, columns} = this.constants;
    const narrow = new Float32Array(n_mels * width);
    for (let mel = 0; mel < n_mels; ++mel) {
      for (let column = 0; column < width; ++column) {
        const weights = columns.weights[column];
        const first = mel * frames + columns.first[column];
        let sum = 0;
        for (let tap = 0; tap < weights.length; ++tap) sum += weights[tap] * x[first + tap];
        narrow[mel * width + column] = sum;
      }
    }
    const image = new Float32Array(height * width);
    for (let row = 0; row < height; ++row) {
      const weights = rows.weights[row];
      for (let column = 0; column < width; ++column) {
        let sum = 0;
        for (let tap = 0; tap < weights.length; ++tap) {
          sum += weights[tap] * narrow[(rows.first[row] + tap) * width + column];
        }
        image[row * width + column] = sum;
      }
    }
    return image;
  }

  colour(value) {
    const {colours} = this.constants;
    return colours[Math.min(Math.max(Math.trunc(Math.fround(value) * 256), 0), 255)];
  }

  quantised(value) {
    const {scale, zero_point} = this.constants.input;
    const steps = Math.fround(Math.fround(value) / Math.fround(scale));
    return Math.min(Math.max(evenly(steps) + zero_point, -128), 127);
  }
}

// A clip [num_samples] of samples of any length, as mel.fit_length.
export function fitLength(samples, constants) {
  const clip = new Float32Array(constants.num_samples);
  clip.set(samples.subarray(0, clip.length));
  if (constants.fit === 'repeat' && samples.length) {
    for (let i = samples.length; i < clip.length; ++i) clip[i] = clip[i - samples.length];
  }
  return clip;
}

// Rounds halves to the even neighbour, as NumPy.
function evenly(value) {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

// In place in `real` and `imaginary`, radix 2.
class Fourier {
  constructor(size) {
    this.real = new Float64Array(size);
    this.imaginary = new Float64Array(size);
    this.cosines = Float64Array.from({length: size / 2}, (_, i) => Math.cos((2 * Math.PI * i) / size));
    this.sines = Float64Array.from({length: size / 2}, (_, i) => -Math.sin((2 * Math.PI * i) / size));
    this.swaps = [];
    for (let i = 0; i < size; ++i) {
      let reversed = 0;
      for (let bit = 1; bit < size; bit *= 2) reversed = reversed * 2 + (i & bit ? 1 : 0);
      if (i < reversed) this.swaps.push([i, reversed]);
    }
  }

  transform() {
    const {real, imaginary, cosines, sines} = this;
    const size = real.length;
    for (const [a, b] of this.swaps) {
      [real[a], real[b]] = [real[b], real[a]];
      [imaginary[a], imaginary[b]] = [imaginary[b], imaginary[a]];
    }
    for (let half = 1; half < size; half *= 2) {
      const step = size / 2 / half;
      for (let first = 0; first < size; first += 2 * half) {
        for (let i = 0; i < half; ++i) {
          const c = cosines[i * step];
          const s = sines[i * step];
          const a = first + i;
          const b = a + half;
          const r = real[b] * c - imaginary[b] * s;
          const m = real[b] * s + imaginary[b] * c;
          real[b] = real[a] - r;
          imaginary[b] = imaginary[a] - m;
          real[a] += r;
          imaginary[a] += m;
        }
      }
    }
  }
}
