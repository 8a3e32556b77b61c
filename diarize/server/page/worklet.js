/* The microphone's audio, on the audio thread: blocks of 0.1 s of 16-bit samples for the page. */

import { toInt16 } from "./tape.js";

class Recorder extends AudioWorkletProcessor {
  #block = new Float32Array(Math.round(sampleRate / 10));
  #filled = 0;
  #open = true;

  constructor() {
    super();
    this.port.onmessage = () => {
      this.#post();
      this.port.postMessage(null);
      this.#open = false;
    };
  }

  process([[samples]], [[output]]) {
    // a microphone that says nothing still takes time
    const heard = samples ?? new Float32Array(output.length);
    for (let at = 0; this.#open && at < heard.length; ) {
      const part = heard.subarray(at, at + this.#block.length - this.#filled);
      this.#block.set(part, this.#filled);
      this.#filled += part.length;
      at += part.length;
      if (this.#filled === this.#block.length) this.#post();
    }
    return this.#open;
  }

  #post() {
    const samples = toInt16([this.#block.subarray(0, this.#filled)]);
    this.#filled = 0;
    if (samples.length) this.port.postMessage(samples, [samples.buffer]);
  }
}

registerProcessor("recorder", Recorder);
