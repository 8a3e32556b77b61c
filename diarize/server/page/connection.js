/* The client of the live protocol: sends a tape, and comes back to its session when the connection breaks. */

/** Bytes that may wait in the browser: beyond it the network is slower than we are. */
const FULL = 1 << 20;

/** Seconds to wait before each attempt to come back; the last one again and again. */
const WAITS = [0.3, 1, 2, 4, 8];

/** What passes by itself: the server has not noticed yet that we were gone, or is starting again. */
const PASSING = new Set(["busy_session", "full", "internal"]);

/**
 * One session.
 *
 * url: of the server. start: the fields of the start message. tape: the audio; it is sent up to `reach`.
 * heard: called with every message of the server. state: called with "connecting", "live", "waiting" (to try again),
 * "done" or "failed", and with the reason of the last: {code, message}.
 */
export class Connection {
  /** Position up to which the tape may be sent. */
  reach = 0;
  #socket = null;
  #session = null;
  #resumable = false;
  #ready = false;
  #sent = 0;
  #end = null;
  #ended = false;
  #over = false;
  #error = null;
  #tries = 0;
  #pumping = 0;
  #retrying = 0;
  #commands = [];

  constructor({ url, start, tape, heard, state }) {
    Object.assign(this, { url, start, tape, heard, state });
    addEventListener("online", this.#retry);
    this.#open();
  }

  /** Let more of the tape be sent. */
  advance(position) {
    this.reach = position;
    this.#pump();
  }

  /** A rename or a merge; said again after a broken connection until the server has answered it. */
  command(message) {
    this.#commands.push({ message, again: false });
    if (this.#ready && !this.#ended) this.#say(message);
  }

  /** The commands that came too late for the server to answer. */
  get unanswered() {
    return this.#commands.map(({ message }) => message);
  }

  /** Send the rest, and ask for the final answer. */
  end(erase) {
    this.#end = { type: "end", ...(erase && { erase }) };
    this.#pump();
  }

  /** Give up: no final answer is waited for. */
  close() {
    this.#finish("failed", { code: "closed", message: "" });
  }

  #open() {
    this.state("connecting");
    this.#error = null;
    const socket = new WebSocket(this.url);
    this.#socket = socket;
    socket.onopen = () => {
      const resume = this.#session && { session: this.#session, position: this.tape.start };
      this.#say({ type: "start", ...this.start, ...resume });
    };
    socket.onmessage = ({ data }) => this.#take(JSON.parse(data));
    socket.onclose = ({ code }) => socket === this.#socket && this.#closed(code);
  }

  #take(message) {
    if (message.type === "ready") {
      this.#session = message.session;
      this.#resumable = message.resumable;
      this.#sent = message.position;
      this.#ready = true;
      this.#ended = false;
      this.#tries = 0;
    } else if (message.type === "ack") {
      this.tape.forget(message.position);
    } else if (message.type === "speaker") {
      const kind = { renamed: "rename", merged: "merge" }[message.event];
      this.#answered(({ type, speaker }) => type === kind && speaker === message.speaker);
    } else if (message.type === "error") {
      if (message.fatal) this.#error = message;
      else if (this.#answered(() => true)?.again !== false) return; // done already, before the connection broke
    }
    this.heard(message);
    if (message.type === "done") this.#finish("done");
    if (message.type === "ready") {
      this.state("live");
      for (const command of this.#commands) {
        this.#say(command.message);
        command.again = true;
      }
      this.#pump();
    }
  }

  /** The oldest command of which this holds has its answer. */
  #answered(holds) {
    const index = this.#commands.findIndex(({ message }) => holds(message));
    return index < 0 ? undefined : this.#commands.splice(index, 1)[0];
  }

  #pump() {
    clearTimeout(this.#pumping);
    if (!this.#ready) return;
    while (this.#sent < this.reach && this.#socket.bufferedAmount < FULL) {
      const samples = this.tape.cut(this.#sent);
      this.#socket.send(samples); // typed arrays are little-endian wherever browsers run
      this.#sent += samples.length;
    }
    if (this.#sent < this.reach) this.#pumping = setTimeout(() => this.#pump(), 20);
    else if (this.#end && !this.#ended) {
      this.#ended = true;
      this.#say(this.#end);
    }
  }

  #say(message) {
    this.#socket.send(JSON.stringify(message));
  }

  #closed(code) {
    this.#ready = false;
    if (this.#over) return;
    const passing = !this.#error || PASSING.has(this.#error.code);
    if (this.#session && this.#resumable && passing) {
      const wait = WAITS[Math.min(this.#tries++, WAITS.length - 1)];
      this.state("waiting");
      // not all clients of a server that starts again at the same moment
      this.#retrying = setTimeout(this.#retry, wait * (750 + 500 * Math.random()));
    } else {
      const reason = this.#session ? "lost" : code === 1013 ? "full" : "unreachable";
      this.#finish("failed", this.#error ?? { code: reason, message: "" });
    }
  }

  #retry = () => {
    if (this.#over || this.#socket.readyState !== WebSocket.CLOSED) return;
    clearTimeout(this.#retrying);
    this.#open();
  };

  #finish(state, reason) {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#retrying);
    removeEventListener("online", this.#retry);
    this.#socket.close();
    this.state(state, reason);
  }
}
