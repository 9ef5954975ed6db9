// From the stored outputs of windows to events, in whole numbers: inference/detector.py.

export const ONE = 32768; // the stored probability 1

// Probabilities [classes] of the int8 logits [classes] of a window.
export function ofStored(stored, powers) {
  const most = stored.reduce((a, b) => Math.max(a, b));
  const terms = Array.from(stored, (value) => powers[most - value]);
  const total = terms.reduce((a, b) => a + b);
  return terms.map((term) => Math.floor((term * ONE + Math.floor(total / 2)) / total));
}

export class Detector {
  // `settings` are those of constants.json; thresholds are by class.
  constructor(settings) {
    this.settings = settings;
    this.last = []; // probabilities of the last `smooth` windows
    this.runs = settings.thresholds.map(() => 0); // windows in a row above the threshold
    this.wait = 0;
    this.window = -1;
  }

  // Takes the probabilities [classes] of the next window. Returns the sums over the last windows
  // and the event {window, label, score}, or null.
  push(probabilities) {
    const {smooth, min_windows, refractory, thresholds} = this.settings;
    this.window += 1;
    this.last.push(probabilities);
    if (this.last.length > smooth) this.last.shift();
    const totals = thresholds.map((_, k) => this.last.reduce((sum, row) => sum + row[k], 0));
    let label = -1;
    thresholds.forEach((threshold, k) => {
      const above = threshold > 0 && totals[k] >= threshold * smooth;
      this.runs[k] = above ? this.runs[k] + 1 : 0;
      if (this.runs[k] >= min_windows && (label < 0 || totals[k] > totals[label])) label = k;
    });
    if (this.wait > 0) {
      this.wait -= 1;
      return {totals, event: null};
    }
    if (label < 0) return {totals, event: null};
    this.wait = refractory;
    const score = Math.floor(totals[label] / smooth);
    return {totals, event: {window: this.window, label, score}};
  }
}
