/* Audio with positions: what is kept until the server says that it needs it no more. */

/** Sample rate of what is sent, in Hz, wherever the browser can give it. */
export const RATE = 16_000;

/** What is shown as silence and as full, in dBFS. */
const QUIETEST = -50;
const LOUDEST = -10;

/** 16-bit audio in blocks of 0.1 s; only the last may be shorter. */
export class Tape {
  #blocks = new Map();
  #first = 0;

  /** rate: in Hz. longest: how many seconds are kept; what is older is given up. */
  constructor(rate, longest = Infinity) {
    this.rate = rate;
    this.size = Math.round(rate / 10);
    this.longest = longest;
    this.end = 0;
    /** The loudness of each block, 0..1. */
    this.levels = [];
    /** Samples that were asked for after they had been given up. */
    this.lost = 0;
  }

  /** The first position that is still here. */
  get start() {
    return Math.min(this.#first * this.size, this.end);
  }

  append(samples) {
    for (let at = 0; at < samples.length; at += this.size) {
      const block = samples.subarray(at, at + this.size);
      this.#blocks.set(this.levels.length, block);
      this.levels.push(loudness(block));
      this.end += block.length;
    }
    this.forget(this.end - this.longest * this.rate);
  }

  /** The audio from a position to the end of its block: silence where it has been given up. */
  cut(from) {
    const index = Math.floor(from / this.size);
    const block = this.#blocks.get(index);
    if (block) return block.subarray(from - index * this.size);
    const length = Math.min((index + 1) * this.size, this.end) - from;
    this.lost += length;
    return new Int16Array(length);
  }

  forget(before) {
    for (; (this.#first + 1) * this.size <= before; this.#first++) this.#blocks.delete(this.#first);
  }
}

/** Mono or more channels of floats as 16-bit samples. */
export function toInt16(channels) {
  const samples = new Int16Array(channels[0].length);
  for (let i = 0; i < samples.length; i++) {
    let sum = 0;
    for (const channel of channels) sum += channel[i];
    samples[i] = Math.max(-32768, Math.min(32767, Math.round((sum / channels.length) * 32768)));
  }
  return samples;
}

function loudness(block) {
  let sum = 0;
  for (const sample of block) sum += sample * sample;
  const level = 10 * Math.log10(sum / block.length / 2 ** 30 + 1e-12);
  return Math.max(0, Math.min(1, (level - QUIETEST) / (LOUDEST - QUIETEST)));
}
