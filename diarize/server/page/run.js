/* One recording from its start to its end: a source, its tape, the connection and the answer. */

import { Answer } from "./answer.js";
import { Connection } from "./connection.js";
import { Tape } from "./tape.js";

/** Seconds of audio that are kept while the server cannot be reached: 29 MB at 16 kHz. */
const LONGEST_ABSENCE = 900;

export class Run {
  answer = new Answer();
  /** Whether the answer is the final one, and its RTTM as the server has written it: null where it has not. */
  final = false;
  rttm = null;
  /** Whether the audio is over, and whether nothing more will come at all. */
  ended = false;
  over = false;
  /** How far the labels are behind the audio, in seconds, or null while nothing can be said of it. */
  delay = null;
  /** How far they may be behind, as the server has agreed to it. */
  latency = 0;
  #advanced = 0;
  #labelled = 0;

  /**
   * settings: {url, uri, latency, speakers, erase}; latency in seconds, speakers a number or 0 for unknown.
   * source: a Microphone or a Recording. heard: called with every message of the server.
   * state: called with the states of a Connection, and with "ended" and a reason when the source stops by itself.
   */
  constructor(settings, source, { heard, state }) {
    this.settings = settings;
    this.source = source;
    this.heard = heard;
    this.state = state;
    this.tape = new Tape(source.rate, source.length || LONGEST_ABSENCE);
  }

  start() {
    const { url, uri, latency, speakers } = this.settings;
    const format = { version: 1, encoding: "s16le", sample_rate: this.tape.rate, channels: 1 };
    const options = { latency, ...(speakers && { num_speakers: speakers }) };
    this.connection = new Connection({
      url,
      start: { ...format, uri, options },
      tape: this.tape,
      heard: (message) => this.#take(message),
      state: (state, reason) => this.#become(state, reason),
    });
    this.source.start(
      this.tape,
      (position) => this.#advance(position),
      (reason) => this.#become("ended", reason),
    );
  }

  /** Seconds of audio so far; between two blocks it goes on with the time. */
  heardSeconds() {
    const { reach } = this.connection;
    const paced = reach > 0 && !this.ended && this.source.speed < Infinity;
    const since = paced ? ((performance.now() - this.#advanced) / 1000) * this.source.speed : 0;
    return reach / this.tape.rate + Math.min(0.1, since);
  }

  /** The loudness of what was heard last, 0..1. */
  level() {
    return this.tape.levels[Math.ceil(this.connection.reach / this.tape.size) - 1] ?? 0;
  }

  /** Call a speaker by a name; the empty one takes it back. */
  rename(speaker, name) {
    this.#change({ type: "rename", speaker, name });
  }

  /** Two labels are one person, who goes by `into`. */
  merge(speaker, into) {
    this.#change({ type: "merge", speaker, into });
  }

  /** The audio is over: let the source go, and ask for the final answer. */
  async end() {
    if (this.ended) return;
    this.ended = true;
    await this.source.stop();
    this.connection.end(this.settings.erase);
  }

  /** Wait for the server no longer. */
  abandon() {
    this.connection.close();
  }

  #advance(position) {
    this.#advanced = performance.now();
    this.connection.advance(position);
  }

  /** The server changes its answer; after the end there is only ours. */
  #change(command) {
    if (!this.over) return this.connection.command(command);
    this.rttm = null;
    this.answer.change(command);
    this.heard(command);
  }

  #take(message) {
    this.answer.apply(message);
    if (message.type === "ready") this.latency = message.latency;
    if (message.type === "done") Object.assign(this, { final: true, rttm: message.rttm });
    if (this.answer.end > this.#labelled && !this.ended) {
      this.#labelled = this.answer.end;
      const delay = Math.max(0, this.heardSeconds() - this.#labelled);
      this.delay = this.delay === null ? delay : 0.8 * this.delay + 0.2 * delay;
    }
    this.heard(message);
  }

  #become(state, reason) {
    this.over = state === "done" || state === "failed";
    if (this.over || state === "ended") this.end();
    if (this.over) this.connection.unanswered.forEach((command) => this.#change(command));
    this.state(state, reason);
  }
}
