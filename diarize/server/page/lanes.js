/* The rows of the timeline: one for each speaker, with a bar for each turn in view. */

import { clock } from "./words.js";

const COLOURS = 8;

/** The classes that colour what belongs to the speaker of a row; after COLOURS they come again, striped. */
export function voice(row) {
  return `voice-${row % COLOURS}${row >= COLOURS ? " striped" : ""}`;
}

export class Lanes {
  #lanes = new Map(); // label -> {row, name, track}
  #bars = new Map(); // id -> {bar, speaker}

  /** root: where the rows go. pick: called with the label when a name is clicked; keys have the list of speakers. */
  constructor(root, pick) {
    this.root = root;
    this.pick = pick;
  }

  clear() {
    this.root.replaceChildren();
    this.#lanes.clear();
    this.#bars.clear();
  }

  /** Draw the turns in [from, to) at so many pixels a second. */
  draw(answer, from, to, scale) {
    this.#drawRows(answer);
    const seen = new Set();
    for (const turn of answer.current()) {
      if (turn.end <= from || turn.start >= to) continue;
      seen.add(turn.id);
      this.#drawTurn(answer, turn, scale);
    }
    for (const [id, { bar }] of this.#bars) {
      if (seen.has(id)) continue;
      bar.remove();
      this.#bars.delete(id);
    }
  }

  /** Mark who talks now. */
  speak(labels) {
    for (const [label, { row }] of this.#lanes) row.classList.toggle("speaks", labels.includes(label));
  }

  #drawRows(answer) {
    const speakers = answer.talkTime();
    for (const { label, row: number } of speakers) {
      if (!this.#lanes.has(label)) this.#add(label, number);
      const { name } = this.#lanes.get(label);
      const title = answer.title(label);
      if (name.textContent !== title) name.textContent = name.title = title;
    }
    const present = new Set(speakers.map(({ label }) => label));
    for (const [label, { row }] of this.#lanes) row.hidden = !present.has(label);
  }

  #add(label, number) {
    const row = document.createElement("div");
    const name = document.createElement("div");
    const track = document.createElement("div");
    row.className = `lane ${voice(number)}`;
    row.dataset.speaker = label;
    name.className = "lane-name";
    name.onclick = () => this.pick(label);
    track.className = "track";
    row.append(name, track);
    row.style.order = number;
    this.root.append(row);
    this.#lanes.set(label, { row, name, track });
  }

  #drawTurn(answer, turn, scale) {
    const { track } = this.#lanes.get(turn.speaker);
    const known = this.#bars.get(turn.id);
    const bar = known?.bar ?? document.createElement("i");
    if (known?.speaker !== turn.speaker) {
      if (known) this.#leaveTrace(bar);
      track.append(bar);
      bar.dataset.id = turn.id;
      bar.className = "turn";
      if (known) bar.classList.add("moved");
      this.#bars.set(turn.id, { bar, speaker: turn.speaker });
    }
    const corrected = turn.was !== null && turn.was !== turn.speaker;
    bar.classList.toggle("corrected", corrected);
    bar.style.left = `${turn.start * scale}px`;
    bar.style.width = `${Math.max(2, (turn.end - turn.start) * scale - 1)}px`;
    const was = corrected ? `, before: ${answer.title(turn.was)}` : "";
    bar.title = `${answer.title(turn.speaker)} ${clock(turn.start, 1)}–${clock(turn.end, 1)}${was}`;
  }

  /** Where a turn was before it moved to another row, an outline fades away. */
  #leaveTrace(bar) {
    const trace = bar.cloneNode();
    trace.className = "trace";
    delete trace.dataset.id;
    bar.before(trace);
    setTimeout(() => trace.remove(), 2000);
  }
}
