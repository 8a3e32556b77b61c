/* The current answer: turns by id and speakers by label, made of the server's messages. */

/** Turns that grew so lately, in milliseconds, are being spoken now. */
const NOW = 1500;

export class Answer {
  /** Speakers by label: {label, row, name}; row counts from 0 in order of first appearance. */
  speakers = new Map();
  /** Turns by id: {id, start, end, speaker, confidence, state, was, grew}; was: the speaker shown before, or null. */
  turns = new Map();
  /** Counts up whenever something changes. */
  version = 0;
  #was = new Map();
  #sorted = [];
  #sortedVersion = -1;

  apply(message) {
    this.version++;
    if (message.type === "ready") this.#clear();
    else if (message.type === "segment") this.#put(message, message.speaker);
    else if (message.type === "revision") for (const change of message.changes) this.#revise(change);
    else if (message.type === "speaker") this.#speaker(message.speaker).name = message.name;
  }

  /** Rename or merge, as the server would. */
  change({ type, speaker: label, name, into }) {
    const speaker = this.#speaker(label);
    if (type === "rename") {
      this.apply({ type: "speaker", speaker: label, name: name || null });
    } else {
      this.#speaker(into).name ??= speaker.name;
      const turns = this.current().filter((turn) => turn.speaker === label);
      const merged = { to: into, name: this.#speaker(into).name, reason: "merged" };
      this.apply({ type: "revision", changes: turns.map((turn) => ({ ...turn, ...merged })) });
    }
  }

  /** The turns by time. */
  current() {
    if (this.#sortedVersion !== this.version) {
      this.#sorted = [...this.turns.values()].sort((a, b) => a.start - b.start || a.end - b.end || a.id - b.id);
      this.#sortedVersion = this.version;
    }
    return this.#sorted;
  }

  /** Where the last turn ends, in seconds. */
  get end() {
    return Math.max(0, ...this.current().slice(-8).map((turn) => turn.end));
  }

  /** Who has a turn: speakers by first appearance, with the seconds they talk; two turns at one moment count it once. */
  talkTime() {
    const heard = new Map();
    for (const turn of this.current()) {
      const { seconds, until } = heard.get(turn.speaker) ?? { seconds: 0, until: 0 };
      const fresh = Math.max(0, turn.end - Math.max(turn.start, until));
      heard.set(turn.speaker, { seconds: seconds + fresh, until: Math.max(until, turn.end) });
    }
    return [...this.speakers.values()]
      .filter((speaker) => heard.has(speaker.label))
      .map((speaker) => ({ ...speaker, seconds: heard.get(speaker.label).seconds }));
  }

  /** The labels of who talks now. */
  speaking(now) {
    const lately = this.current().slice(-4).filter((turn) => now - turn.grew < NOW && turn.state !== "final");
    const end = Math.max(...lately.map((turn) => turn.end));
    return [...new Set(lately.filter((turn) => turn.end > end - 0.5).map((turn) => turn.speaker))];
  }

  /** What to call a speaker on the page. */
  title(label) {
    const speaker = this.speakers.get(label);
    return speaker?.name || label.replace(/^SPEAKER_0*(\d+)$/, (_, number) => `Speaker ${Number(number) + 1}`);
  }

  #clear() {
    for (const [id, turn] of this.turns) this.#was.set(id, turn.was);
    this.turns.clear();
    for (const speaker of this.speakers.values()) speaker.name = null;
  }

  #put({ id, start, end, name, confidence, state }, label) {
    const known = this.turns.get(id);
    this.#speaker(label).name = name;
    const grew = known && known.end >= end ? known.grew : performance.now();
    const was = known ? known.was : (this.#was.get(id) ?? null);
    this.turns.set(id, { id, start, end, speaker: label, confidence, state, was, grew });
  }

  #revise(change) {
    const before = this.turns.get(change.id)?.speaker;
    if (change.to === null) {
      this.turns.delete(change.id);
      return;
    }
    this.#put(change, change.to);
    // what the user merged was no mistake of the system's
    if (before && before !== change.to && change.reason !== "merged") this.turns.get(change.id).was = before;
  }


  #speaker(label) {
    if (!this.speakers.has(label)) {
      this.speakers.set(label, { label, row: this.speakers.size, name: null });
    }
    return this.speakers.get(label);
  }
}
