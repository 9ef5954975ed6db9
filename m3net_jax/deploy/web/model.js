// The int8 model in LiteRT.js.
//
// Its class Tensor knows no int8 ("Element type INT8 is not supported", 2.5.3), its WebAssembly
// does: the model is compiled and run by the functions that LiteRT.js itself calls.

import {loadLiteRt} from './litert/core/dist/index.js';

// Returns a function from the int8 input [height * width * channels] to a promise of the int8
// outputs [classes].
export async function load(content) {
  const liteRt = await loadLiteRt('./litert/core/wasm/');
  const wasm = liteRt.liteRtWasm;
  const environment = liteRt.getDefaultEnvironment().liteRtEnvironment;
  const at = wasm._malloc(content.length); // the model reads its weights from there
  wasm.HEAPU8.set(content, at);
  const model = wasm.loadModel(environment, at, content.length);
  const compiled = await wasm.compileModel(environment, model, {accelerator: 'wasm'});
  const kind = model.getInputTensorType(0, 0);
  const input = wasm.LiteRtTensorBuffer.createManaged(
    environment, wasm.LiteRtTensorBufferType.HOST_MEMORY, kind, kind.bytes());
  const {READ, WRITE} = wasm.LiteRtTensorBufferLockMode;
  return async (stored) => {
    const place = input.lock(WRITE);
    wasm.HEAPU8.set(new Uint8Array(stored.buffer), place);
    input.unlock();
    const [output] = await compiled.run(0, [input]);
    const from = output.lock(READ);
    const answer = new Int8Array(wasm.HEAPU8.slice(from, from + output.packedSize()).buffer);
    output.unlock();
    output.delete();
    return answer;
  };
}
