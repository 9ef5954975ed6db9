// Samples as they come: columns of the spectrogram, windows, probabilities, events.

import {Detector, ofStored} from './detector.js';

export class Stream {
  // `run` maps the int8 input of a window to the stored outputs, or to a promise of them.
  // `onColumn` gets every column that needs no zeros, and its number; column j begins at sample
  // j * hop_length - before. `onWindow` gets the end of a window (s), its probabilities, their sums
  // and the event or null.
  constructor(frontEnd, run, {onColumn = () => {}, onWindow = () => {}}) {
    Object.assign(this, {frontEnd, run, onColumn, onWindow});
    const {constants, before} = frontEnd;
    this.detector = new Detector(constants.detector);
    this.samples = new Float32Array(0);
    this.base = 0; // position of samples[0] in the stream
    this.received = 0;
    this.columns = new Map();
    this.column = Math.ceil(before / constants.hop_length); // the next one
    this.window = 0; // the next one
  }

  get seconds() {
    return this.received / this.frontEnd.constants.sample_rate;
  }

  // Takes samples at the model's rate and computes the columns that they complete.
  push(block) {
    const {frontEnd} = this;
    const {hop_length, n_fft, detector} = frontEnd.constants;
    const first = Math.min(
      this.window * detector.hop_frames * hop_length,
      this.column * hop_length - frontEnd.before,
    ); // the oldest sample that is needed
    const kept = this.samples.subarray(Math.min(first - this.base, this.samples.length));
    this.base = this.received - kept.length;
    this.samples = new Float32Array(kept.length + block.length);
    this.samples.set(kept);
    this.samples.set(block, kept.length);
    this.received += block.length;
    for (;;) {
      const from = this.column * hop_length - frontEnd.before;
      if (from + n_fft > this.received) return;
      const column = frontEnd.column(this.samples, from - this.base, 0, this.samples.length);
      this.columns.set(this.column, column);
      this.onColumn(column, this.column);
      this.column += 1;
    }
  }

  // Whether a window is complete and not classified yet.
  get ready() {
    const {num_samples, hop_length, detector} = this.frontEnd.constants;
    return this.received >= num_samples + this.window * detector.hop_frames * hop_length;
  }

  // Seconds of windows that wait.
  get late() {
    const {num_samples, hop_length, sample_rate, detector} = this.frontEnd.constants;
    const end = num_samples + this.window * detector.hop_frames * hop_length;
    return (this.received - end) / sample_rate;
  }

  // Leaves out the windows that wait, but for the newest; returns their number. The detector starts
  // again.
  skip() {
    const {num_samples, hop_length, detector} = this.frontEnd.constants;
    const newest = Math.floor((this.received - num_samples) / (detector.hop_frames * hop_length));
    const skipped = newest - this.window;
    this.window = newest;
    this.detector = new Detector(detector);
    this.detector.window = newest - 1;
    return skipped;
  }

  // Classifies the next window.
  async next() {
    const {constants, before} = this.frontEnd;
    const {num_samples, hop_length, n_fft, frames, sample_rate, powers} = constants;
    const number = this.window * constants.detector.hop_frames; // of its first column
    const low = number * hop_length - this.base;
    const columns = Array.from({length: frames}, (_, i) => {
      const from = i * hop_length - before;
      return from >= 0 && from + n_fft <= num_samples
        ? this.columns.get(number + i)
        : this.frontEnd.column(this.samples, low + from, low, low + num_samples);
    });
    const end = (number * hop_length + num_samples) / sample_rate;
    this.window += 1;
    for (const j of this.columns.keys()) {
      if (j < number + constants.detector.hop_frames) this.columns.delete(j);
    }
    const probabilities = ofStored(await this.run(this.frontEnd.input(columns)), powers);
    const {totals, event} = this.detector.push(probabilities);
    this.onWindow({end, probabilities, totals, event});
  }
}
