/* The list of the last turns, the newest first. */

import { voice } from "./lanes.js";
import { clock } from "./words.js";

const MOST = 100;

export class Turns {
  #items = new Map(); // id -> element

  /** list: the element of the list. empty: what is shown while there is none. */
  constructor(list, empty) {
    this.list = list;
    this.empty = empty;
  }

  clear() {
    this.#items.clear();
    this.list.replaceChildren();
  }

  draw(answer) {
    const turns = answer.current().slice(-MOST).reverse();
    this.empty.hidden = turns.length > 0;
    const kept = new Set(turns.map(({ id }) => id));
    for (const [id, item] of this.#items) {
      if (kept.has(id)) continue;
      item.remove();
      this.#items.delete(id);
    }
    turns.forEach((turn, place) => {
      if (!this.#items.has(turn.id)) this.#items.set(turn.id, document.createElement("li"));
      const item = this.#items.get(turn.id);
      this.#write(item, answer, turn);
      if (this.list.children[place] !== item) this.list.insertBefore(item, this.list.children[place] ?? null);
    });
  }

  #write(item, answer, turn) {
    const title = answer.title(turn.speaker);
    const corrected = turn.was !== null && turn.was !== turn.speaker;
    const was = corrected ? answer.title(turn.was) : "";
    const told = [title, turn.start, turn.end, was].join("\n");
    if (item.dataset.told === told) return;
    const changed = item.dataset.speaker && item.dataset.speaker !== turn.speaker;
    item.dataset.told = told;
    item.dataset.speaker = turn.speaker;
    item.className = `${voice(answer.speakers.get(turn.speaker).row)}${changed ? " moved" : ""}`;
    const parts = [
      ["swatch", ""],
      ["who", title],
      ["when", `${clock(turn.start, 1)} – ${clock(turn.end, 1)}`],
      ["long", `${(turn.end - turn.start).toFixed(1)} s`],
      ...(corrected ? [["was", `corrected, was ${was}`]] : []),
    ];
    item.replaceChildren(
      ...parts.map(([name, text]) => {
        const part = document.createElement("span");
        part.className = name;
        part.textContent = text;
        return part;
      }),
    );
  }
}
