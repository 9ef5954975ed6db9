// The microphone as blocks of samples at the model's rate.

// Calls `onBlock` until the function that it returns is called. Raises an Error in plain words.
export async function listen(rate, onBlock) {
  if (!navigator.mediaDevices) throw new Error('this page is not at 127.0.0.1, so the browser gives no microphone');
  let sound;
  try {
    sound = await navigator.mediaDevices.getUserMedia({
      audio: {channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false},
    });
  } catch (error) {
    throw new Error({
      NotAllowedError: 'The microphone was refused. Allow it for this page, then try again.',
      NotFoundError: 'There is no microphone. Plug one in, or choose a file.',
      NotReadableError: 'The microphone is used by another program. Close that one, then try again.',
    }[error.name] || `The microphone cannot be used: ${error.message}`);
  }
  const context = new AudioContext({sampleRate: rate}); // the browser resamples
  const stop = () => {
    sound.getTracks().forEach((track) => track.stop());
    context.close();
  };
  try {
    await context.audioWorklet.addModule('worklet.js');
    const node = new AudioWorkletNode(context, 'blocks', {numberOfOutputs: 0, channelCount: 1, channelCountMode: 'explicit'});
    node.port.onmessage = ({data}) => onBlock(data);
    context.createMediaStreamSource(sound).connect(node);
    await context.resume();
  } catch (error) {
    stop();
    throw new Error(`This browser cannot give the microphone at ${rate} Hz: ${error.message}`);
  }
  return stop;
}
