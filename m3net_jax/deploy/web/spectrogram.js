// The spectrogram on its canvas: running, or a whole recording; with events and a marked time.

const RUNNING_SECONDS = 10;
const MOST_COLUMNS = 4096; // of a picture of a whole recording; its columns share if there are more

export class Spectrogram {
  constructor(canvas, axis, constants) {
    Object.assign(this, {canvas, axis, constants});
    this.colours = constants.colours.map((colour) => colour.map((value) => Math.round(value * 255)));
    this.picture = document.createElement('canvas');
    this.begin(0);
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  // Forgets all. `seconds`: the length of a recording, or 0 for a picture that runs.
  begin(seconds) {
    const {sample_rate, hop_length, n_mels} = this.constants;
    const columns = Math.max(1, Math.round(((seconds || RUNNING_SECONDS) * sample_rate) / hop_length));
    this.running = !seconds;
    this.length = seconds || RUNNING_SECONDS;
    this.share = Math.ceil(columns / MOST_COLUMNS); // columns of the stream in one of the picture
    this.picture.width = Math.ceil(columns / this.share);
    this.picture.height = n_mels;
    this.pen = this.picture.getContext('2d', {willReadFrequently: false});
    this.pen.fillStyle = '#000004';
    this.pen.fillRect(0, 0, this.picture.width, n_mels);
    this.newest = 0; // columns of the stream so far
    this.loudest = null;
    this.events = [];
    this.marked = null;
    this.draw();
  }

  add(column, number) {
    const group = Math.floor(number / this.share);
    if (number % this.share === 0 || !this.loudest) this.loudest = Float32Array.from(column);
    else column.forEach((value, mel) => { this.loudest[mel] = Math.max(this.loudest[mel], value); });
    this.newest = number + 1;
    const {n_mels, mean, std} = this.constants;
    const pixels = this.pen.createImageData(1, n_mels);
    for (let mel = 0; mel < n_mels; ++mel) {
      // From half a deviation below the mean of the training clips to 3.5 above.
      const shade = ((this.loudest[mel] - mean) / std + 0.5) / 4;
      const colour = this.colours[Math.min(Math.max(Math.floor(shade * 256), 0), 255)];
      pixels.data.set([...colour, 255], 4 * (n_mels - 1 - mel));
    }
    this.pen.putImageData(pixels, group % this.picture.width, 0);
  }

  // First second of what is shown.
  get start() {
    const {sample_rate, hop_length} = this.constants;
    return this.running ? Math.max(0, (this.newest * hop_length) / sample_rate - this.length) : 0;
  }

  // The time at a horizontal place on the page, s.
  timeAt(x) {
    const {left, width} = this.canvas.getBoundingClientRect();
    return this.start + (Math.min(Math.max((x - left) / width, 0), 1)) * this.length;
  }

  draw() {
    const {canvas, picture} = this;
    const ratio = window.devicePixelRatio;
    const {clientWidth, clientHeight} = canvas;
    if (!clientWidth) return;
    const [width, height] = [Math.round(clientWidth * ratio), Math.round(clientHeight * ratio)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, {width, height});
    const pen = canvas.getContext('2d');
    const total = picture.width;
    const first = this.running && this.newest > total ? this.newest % total : 0;
    // The picture is a ring: what is right of `first` is older than what is left of it.
    const edge = ((total - first) / total) * width;
    pen.drawImage(picture, first, 0, total - first, picture.height, 0, 0, edge, height);
    if (first) pen.drawImage(picture, 0, 0, first, picture.height, edge, 0, width - edge, height);
    pen.font = `600 ${13 * ratio}px system-ui, sans-serif`;
    pen.textBaseline = 'middle';
    const place = (time) => ((time - this.start) / this.length) * width;
    const {start} = this;
    if (this.running) this.events = this.events.filter(({time}) => time >= start);
    const free = [-Infinity, -Infinity, -Infinity]; // right ends of the labels in three rows
    const dense = this.events.length * 44 * ratio > width; // short marks instead of labels
    for (const {time, label} of this.events) {
      const x = place(time);
      const wide = pen.measureText(label).width + 10 * ratio;
      pen.fillStyle = 'rgb(255 255 255 / 70%)';
      pen.fillRect(x - ratio / 2, 0, ratio, dense ? 12 * ratio : height);
      if (dense) continue;
      const left = Math.min(Math.max(x - wide - 3 * ratio, 2 * ratio), width - wide);
      const row = free.findIndex((end) => end <= left);
      if (row < 0) continue;
      free[row] = left + wide + 2 * ratio;
      const top = (6 + 24 * row) * ratio;
      pen.fillStyle = 'rgb(0 0 0 / 75%)';
      pen.fillRect(left, top, wide, 20 * ratio);
      pen.fillStyle = '#fff';
      pen.fillText(label, left + 5 * ratio, top + 10.5 * ratio);
    }
    if (this.marked !== null) {
      pen.fillStyle = '#7fe3ff';
      pen.fillRect(place(this.marked) - ratio, 0, 2 * ratio, height);
    }
    this.label();
  }

  label() {
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600].find(
      (size) => (this.canvas.clientWidth / this.length) * size >= 56) || 7200;
    const marks = [];
    const end = this.start + this.length;
    for (let k = Math.ceil(this.start / step); k * step <= end; ++k) {
      const mark = document.createElement('span');
      const share = (k * step - this.start) / this.length;
      mark.textContent = clock(k * step, step < 1 ? 1 : 0);
      mark.style.left = `${100 * share}%`;
      if (share > 0.97) mark.className = 'last';
      marks.push(mark);
    }
    this.axis.replaceChildren(...marks);
  }
}

// Seconds as 7.5 s, or as 2:07.5 from a minute on.
export function clock(seconds, digits) {
  if (seconds < 60) return `${seconds.toFixed(digits)} s`;
  const rounded = Number(seconds.toFixed(digits));
  const minutes = Math.floor(rounded / 60);
  return `${minutes}:${(rounded - 60 * minutes).toFixed(digits).padStart(digits ? digits + 3 : 2, '0')}`;
}
