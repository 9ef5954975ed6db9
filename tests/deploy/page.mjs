// What the page computes, for test_page.py: reads JSON from standard input, writes JSON.

import {readFileSync} from 'node:fs';
import {Detector, ofStored} from '../../m3net_jax/deploy/web/detector.js';
import {FrontEnd, fitLength} from '../../m3net_jax/deploy/web/features.js';
import {Stream} from '../../m3net_jax/deploy/web/stream.js';
import {plainWave} from '../../m3net_jax/deploy/web/wave.js';

const jobs = {
  features({constants, samples}) {
    const frontEnd = new FrontEnd(constants);
    const columns = frontEnd.columns(fitLength(Float32Array.from(samples), constants));
    return {columns: columns.map((column) => [...column]), input: [...frontEnd.input(columns)]};
  },

  detector({constants, outputs}) {
    const detector = new Detector(constants.detector);
    const probabilities = outputs.map((row) => ofStored(row, constants.powers));
    const events = probabilities.map((row) => detector.push(row).event).filter((event) => event);
    return {probabilities, events};
  },

  // The stored outputs are a made function of the input, so that Python can compute them.
  async stream({constants, samples, blocks}) {
    const said = {inputs: [], ends: [], columns: [], events: []};
    const stream = new Stream(new FrontEnd(constants), (input) => {
      said.inputs.push([...input]);
      return Int8Array.from(constants.classes, (_, k) => input[17 * k]);
    }, {
      onColumn: (column, number) => said.columns.push(number),
      onWindow: ({end, event}) => {
        said.ends.push(end);
        if (event) said.events.push(event);
      },
    });
    let at = 0;
    for (let i = 0; at < samples.length; ++i) {
      stream.push(Float32Array.from(samples.slice(at, at + blocks[i % blocks.length])));
      at += blocks[i % blocks.length];
      while (stream.ready) await stream.next();
    }
    return said;
  },

  wave({files}) {
    return files.map((file) => {
      const bytes = Buffer.from(file, 'base64');
      const read = plainWave(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
      return read && {rate: read.rate, samples: [...read.samples]};
    });
  },
};

const {job, ...given} = JSON.parse(readFileSync(0, 'utf8'));
process.stdout.write(JSON.stringify(await jobs[job](given)));
