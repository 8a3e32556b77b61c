/* The microphone as a source of audio. */

import { RATE } from "./tape.js";

/** The microphones, as {id, name}; the browser names them only after it has been allowed one. */
export async function microphones() {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return devices
    .filter(({ kind, deviceId, label }) => kind === "audioinput" && deviceId && label)
    .map(({ deviceId, label }) => ({ id: deviceId, name: label }));
}

/**
 * Open a microphone, with nothing that changes the voices: no echo or noise removal, no gain control.
 *
 * device: its id, or "" for the system's choice.
 */
export async function openMicrophone(device) {
  if (!navigator.mediaDevices) throw new DOMException("only https or localhost", "SecurityError");
  const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 };
  const audio = device ? { ...plain, deviceId: { exact: device } } : plain;
  const stream = await navigator.mediaDevices.getUserMedia({ audio });
  const [context, source] = connect(stream);
  await context.audioWorklet.addModule("worklet.js");
  const recorder = new AudioWorkletNode(context, "recorder", { channelCount: 1, channelCountMode: "explicit" });
  // what leads nowhere is not computed everywhere; the recorder's output is silence
  source.connect(recorder).connect(context.destination);
  await context.resume();
  return new Microphone(stream, context, recorder);
}

/** At the rate we send if the browser converts to it, else at the device's own. */
function connect(stream) {
  for (const options of [{ sampleRate: RATE }, {}]) {
    const context = new AudioContext(options);
    try {
      return [context, context.createMediaStreamSource(stream)];
    } catch {
      context.close();
    }
  }
  throw new DOMException("the browser cannot read this microphone", "NotReadableError");
}

class Microphone {
  /** How many times faster than speech the audio comes, and its length in seconds: not known. */
  speed = 1;
  length = 0;
  #rest = Promise.withResolvers();

  constructor(stream, context, recorder) {
    this.rate = context.sampleRate;
    this.stream = stream;
    this.context = context;
    this.recorder = recorder;
  }

  /** Write to the tape; advance is called with its new end, over with an error when the device is taken away. */
  start(tape, advance, over) {
    this.recorder.port.onmessage = ({ data }) => {
      if (!data) return this.#rest.resolve();
      tape.append(data);
      advance(tape.end);
    };
    this.stream.getAudioTracks()[0].onended = () => over(new DOMException("the device is gone", "NetworkError"));
  }

  /** Write what is left, and let the microphone go. */
  async stop() {
    this.recorder.port.postMessage(null);
    setTimeout(this.#rest.resolve, 1000); // an audio thread that has stopped answers no more
    await this.#rest.promise;
    for (const track of this.stream.getTracks()) track.stop();
    await this.context.close();
  }
}
