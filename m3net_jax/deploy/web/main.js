// The page: its buttons, and what is shown.

import {ONE, ofStored} from './detector.js';
import {FrontEnd, fitLength} from './features.js';
import {listen} from './microphone.js';
import {load} from './model.js';
import {Spectrogram, clock} from './spectrogram.js';
import {Stream} from './stream.js';
import {decode} from './wave.js';

const $ = (name) => document.getElementById(name);
const LATE_SECONDS = 2; // of windows that wait; more are not classified
const MOST_EVENTS = 1000; // in the table
const BUSY_MILLISECONDS = 30; // after which a long recording lets the page draw

const constants = await (await fetch('constants.json')).json();
const {classes, sample_rate, num_samples, detector} = constants;
const frontEnd = new FrontEnd(constants);
const spectrogram = new Spectrogram($('spectrogram'), $('axis'), constants);
const bars = classes.map((name, k) => bar(name, detector.thresholds[k] / ONE));
let run = null; // the model
let stop = null; // ends the microphone
let turn = 0; // counts recordings and sessions: an older one ends
let count = 0; // of events
let windows = []; // of a recording, to be looked at later

describe();
try {
  run = await load(new Uint8Array(await (await fetch('model.tflite')).arrayBuffer()));
  $('listen').disabled = $('file').disabled = false;
  say('Ready. No sound leaves this page.');
} catch (error) {
  say(`The model cannot be loaded: ${error.message || error}`, true);
}

$('listen').addEventListener('click', () => (stop ? end() : fromMicrophone()));
$('file').addEventListener('change', ({target}) => {
  if (target.files.length) fromFile(target.files[0]);
  target.value = '';
});
document.addEventListener('dragover', (event) => {
  event.preventDefault();
  document.body.classList.add('over');
});
document.addEventListener('dragleave', (event) => {
  if (!event.relatedTarget) document.body.classList.remove('over');
});
document.addEventListener('drop', (event) => {
  event.preventDefault();
  document.body.classList.remove('over');
  if (run && event.dataTransfer.files.length) fromFile(event.dataTransfer.files[0]);
});
$('spectrogram').addEventListener('pointermove', ({clientX, buttons, pointerType}) => {
  if (pointerType === 'mouse' || buttons) look(spectrogram.timeAt(clientX));
});
$('spectrogram').addEventListener('pointerdown', ({clientX}) => look(spectrogram.timeAt(clientX)));
$('spectrogram').addEventListener('keydown', ({key}) => {
  const step = {ArrowLeft: -1, ArrowRight: 1}[key];
  const at = windows.findIndex(({end}) => end === spectrogram.marked) + (step || 0);
  if (step && windows[at]) look(windows[at].end);
});

async function fromMicrophone() {
  const mine = begin(0);
  say('Waiting for the microphone…');
  const stream = new Stream(frontEnd, run, {
    onColumn: (column, number) => spectrogram.add(column, number),
    onWindow: (window) => {
      if (mine === turn) show(window);
    },
  });
  let busy = false;
  let skipped = 0;
  try {
    const ended = await listen(sample_rate, async (block) => {
      if (mine !== turn) return;
      stream.push(block);
      if (busy) return;
      busy = true;
      try {
        while (mine === turn && stream.ready) {
          if (stream.late > LATE_SECONDS) skipped += stream.skip();
          await stream.next();
        }
      } catch (error) {
        end();
        say(`The model failed: ${error.message || error}`, true);
      }
      busy = false;
    });
    if (mine !== turn) return ended();
    stop = ended;
    $('listen').textContent = 'Stop';
  } catch (error) {
    if (mine === turn) say(error.message, true);
    return undefined;
  }
  const draw = () => {
    if (mine !== turn || !stop) return;
    spectrogram.draw();
    const late = skipped ? `; this computer is too slow: ${skipped} windows were skipped` : '';
    say(`Listening, ${clock(stream.seconds, 0)}${late}`);
    requestAnimationFrame(draw);
  };
  draw();
  return undefined;
}

async function fromFile(file) {
  const mine = begin(0);
  say(`Reading ${file.name}…`);
  let decoded;
  try {
    decoded = await decode(await file.arrayBuffer(), sample_rate);
  } catch {
    if (mine === turn) say(`${file.name}: this browser cannot decode it. Choose a WAV, FLAC, OGG or MP3 file.`, true);
    return;
  }
  if (mine !== turn) return;
  const {samples, resampled} = decoded;
  const seconds = samples.length / sample_rate;
  const source = `${file.name}, ${clock(seconds, 1)}${resampled ? `, from ${resampled} Hz` : ''}`;
  try {
    if (!samples.length) {
      say(`${file.name}: has no samples. Choose another file.`, true);
    } else if (samples.length < num_samples) {
      await classify(fitLength(samples, constants), mine);
      if (mine === turn) say(`${source}: shorter than a window of ${clock(num_samples / sample_rate, 1)}, so it is one clip and has no events.`);
    } else {
      await detect(samples, seconds, source, mine);
    }
  } catch (error) {
    if (mine === turn) say(`The model failed: ${error.message || error}`, true);
  }
}

// One clip, as m3net_jax.predict.
async function classify(clip, mine) {
  spectrogram.begin(num_samples / sample_rate);
  const columns = frontEnd.columns(clip);
  const probabilities = ofStored(await run(frontEnd.input(columns)), constants.powers);
  if (mine !== turn) return;
  columns.forEach((column, number) => spectrogram.add(column, number));
  const means = probabilities.map((value) => value / ONE);
  fill(means, `of the clip`);
  spectrogram.draw();
}

// A whole recording, as m3net_jax.detect.
async function detect(samples, seconds, source, mine) {
  spectrogram.begin(seconds);
  const stream = new Stream(frontEnd, run, {
    onColumn: (column, number) => spectrogram.add(column, number),
    onWindow: (window) => {
      if (mine !== turn) return;
      windows.push(window);
      show(window);
    },
  });
  const block = detector.hop_frames * constants.hop_length;
  let drawn = performance.now();
  for (let at = 0; at < samples.length; at += block) {
    stream.push(samples.subarray(at, at + block));
    while (stream.ready) await stream.next();
    if (mine !== turn) return;
    if (performance.now() - drawn > BUSY_MILLISECONDS) {
      spectrogram.draw();
      say(`${source}: ${Math.round((100 * at) / samples.length)} %`);
      await new Promise((resume) => setTimeout(resume));
      drawn = performance.now();
    }
  }
  const first = windows.find(({event}) => event) || windows[windows.length - 1];
  look(first.end);
  say(`${source}: ${windows.length} windows. Point at the picture to see their probabilities.`);
}

// Ends what runs, and clears the page.
function begin(seconds) {
  end();
  windows = [];
  spectrogram.begin(seconds);
  $('hint').hidden = true;
  $('events').replaceChildren();
  $('none').hidden = false;
  $('count').textContent = '';
  count = 0;
  fill(classes.map(() => 0), '');
  return turn;
}

function end() {
  turn += 1;
  if (!stop) return;
  stop();
  stop = null;
  $('listen').textContent = 'Listen';
  say('Stopped.');
}

function show(window) {
  fill(window.totals.map((total) => total / ONE / detector.smooth), `up to ${clock(window.end, 2)}`);
  if (window.event) note(window.end, window.event);
}

function note(time, {label, score}) {
  spectrogram.events.push({time, label: classes[label]});
  const row = document.createElement('tr');
  const cells = [clock(time, 2), classes[label], (score / ONE).toFixed(3)].map((text) => {
    const cell = document.createElement('td');
    cell.textContent = text;
    return cell;
  });
  cells[1].className = 'what';
  if (!spectrogram.running) {
    const button = document.createElement('button');
    button.textContent = clock(time, 2);
    button.addEventListener('click', () => look(time));
    cells[0].replaceChildren(button);
  }
  row.append(...cells);
  if (spectrogram.running) $('events').prepend(row); // the newest above
  else $('events').append(row);
  if ($('events').children.length > MOST_EVENTS) $('events').lastChild.remove();
  $('none').hidden = true;
  count += 1;
  $('count').textContent = count;
}

// Shows the last window of a recording that ends before a time, or the first one.
function look(time) {
  if (!windows.length) return;
  const window = windows.findLast(({end}) => end <= time + 1e-6) || windows[0];
  spectrogram.marked = window.end;
  fill(window.totals.map((total) => total / ONE / detector.smooth), `up to ${clock(window.end, 2)}`);
  spectrogram.draw();
}

function fill(means, when) {
  $('when').textContent = when;
  means.forEach((mean, k) => bars[k](mean));
}

// A row of the probabilities; returns the function that sets it.
function bar(name, threshold) {
  const row = document.createElement('li');
  const [label, track, value, share] = ['label', 'track', 'fill', 'share'].map((kind) => {
    const element = document.createElement(kind === 'label' || kind === 'share' ? 'span' : 'div');
    element.className = kind;
    return element;
  });
  label.textContent = label.title = name;
  track.append(value);
  if (threshold) {
    const tick = document.createElement('i');
    tick.style.left = `${100 * threshold}%`;
    track.append(tick);
  } else {
    row.className = 'never';
    label.title = `${name} is never reported`;
  }
  row.append(label, track, share);
  $('bars').append(row);
  return (mean) => {
    value.style.transform = `scaleX(${mean})`;
    share.textContent = mean.toFixed(2);
    row.classList.toggle('above', threshold > 0 && mean >= threshold);
  };
}

function describe() {
  const {height, width, channels, hop_length} = constants;
  const hop = (detector.hop_frames * hop_length) / sample_rate;
  $('name').textContent = constants.name;
  $('about').textContent = `int8, ${height}×${width}×${channels}, ${sample_rate / 1000} kHz; a window of `
    + `${num_samples / sample_rate} s every ${Number(hop.toFixed(3))} s, mean of ${detector.smooth}`;
  const given = [...new Set(detector.thresholds.filter((value) => value))];
  const shown = given.length === 1 ? (given[0] / ONE).toFixed(2) : 'of each class';
  $('thresholds').textContent = `${shown}, ${constants.calibrated
    ? 'chosen on validation streams'
    : 'the default: this bundle has none of its own'}`;
}

function say(text, wrong = false) {
  if ($('status').textContent !== text) $('status').textContent = text;
  $('status').classList.toggle('wrong', wrong);
}
