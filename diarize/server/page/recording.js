/* A file as a source of audio. */

import { RATE, toInt16 } from "./tape.js";

/** Decode a file to mono at RATE; it will be sent at so many times the pace of speech (Infinity: as fast as it goes). */
export async function openRecording(file, speed) {
  const context = new OfflineAudioContext(1, 1, RATE);
  const audio = await context.decodeAudioData(await file.arrayBuffer());
  const channels = Array.from({ length: audio.numberOfChannels }, (_, channel) => audio.getChannelData(channel));
  return new Recording(toInt16(channels), speed);
}

class Recording {
  rate = RATE;
  #clock = 0;

  constructor(samples, speed) {
    this.samples = samples;
    this.speed = speed;
    this.length = samples.length / RATE;
  }

  /** Write to the tape; advance is called with how much of it is due, over when all of it is. */
  start(tape, advance, over) {
    tape.append(this.samples);
    const began = performance.now();
    const go = () => {
      const due = this.speed === Infinity ? tape.end : ((performance.now() - began) / 1000) * RATE * this.speed;
      advance(Math.min(Math.floor(due), tape.end));
      if (due >= tape.end) over();
    };
    this.#clock = setInterval(go, 50);
    go();
  }

  stop() {
    clearInterval(this.#clock);
  }
}
