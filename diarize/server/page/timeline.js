/* The timeline: time from left to right, the newest audio at the right edge unless the reader has scrolled back. */

import { Lanes } from "./lanes.js";
import { clock } from "./words.js";

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600]; // seconds between ticks
const TICK_ROOM = 72; // pixels between ticks
const LABEL = 40; // pixels that a tick's label takes
const USUAL = 24; // pixels a second
const CLOSEST = 240;
const AFTER = 24; // pixels after the newest audio
const COLUMN = 3; // pixels: a column of the loudness, and the gap after it
const LONGEST_WHOLE = 300; // seconds that can be read when all of them are in view

export class Timeline {
  #scale = USUAL;
  #fits = false;
  #follows = true;
  #drawn = "";

  /** root: the element that scrolls. pick: called with a speaker's label when its name is clicked. */
  constructor(root, pick) {
    const part = (name) => root.querySelector(`.${name}`);
    this.root = root;
    this.stage = part("stage");
    this.lanes = new Lanes(part("lanes"), pick);
    this.canvas = part("loudness");
    this.axis = part("axis");
    this.pending = part("pending");
    root.addEventListener("scroll", () => {
      this.#follows = root.scrollLeft + root.clientWidth >= root.scrollWidth - AFTER;
      if (!this.#follows) this.#fits = false;
    });
  }

  /** Whether the newest audio is in view, and stays there. */
  get follows() {
    return this.#follows;
  }

  /** Begin again, with so many seconds to come where that is known. */
  clear(length) {
    this.lanes.clear();
    this.#scale = USUAL;
    this.#fits = length > 0 && length <= LONGEST_WHOLE;
    this.#follows = true;
    this.#drawn = "";
  }

  follow() {
    this.#follows = true;
  }

  /** Show everything at once. */
  fit() {
    this.#fits = this.#follows = true;
  }

  zoom(factor) {
    const centre = (this.root.scrollLeft + this.view / 2) / this.#scale;
    this.#fits = false;
    const furthest = Math.min(USUAL, (this.view - AFTER) / this.end);
    this.#scale = Math.max(furthest, Math.min(CLOSEST, this.#scale * factor));
    if (this.#follows) return;
    this.stage.style.width = `${this.axis.offsetLeft + this.end * this.#scale + AFTER}px`;
    this.root.scrollLeft = centre * this.#scale - this.view / 2;
  }

  draw(run) {
    this.end = Math.max(run.heardSeconds(), run.answer.end, this.#fits ? run.source.length : 0);
    this.view = this.root.clientWidth - this.axis.offsetLeft; // pixels of time in view
    if (this.#fits) this.#scale = Math.min(CLOSEST, (this.view - AFTER) / Math.max(this.end, 10));
    this.stage.style.width = `${this.axis.offsetLeft + this.end * this.#scale + AFTER}px`;
    if (this.#follows) this.root.scrollLeft = this.root.scrollWidth;
    // a view more on either side, and drawn again only when something has changed or half a view has gone by
    const reach = this.view / this.#scale;
    const page = Math.floor((2 * this.root.scrollLeft) / Math.max(1, this.view));
    const from = (page / 2 - 1) * reach;
    const to = (page / 2 + 2.5) * reach;
    const drawn = `${run.answer.version} ${this.#scale} ${this.view} ${page}`;
    if (drawn !== this.#drawn) {
      this.lanes.draw(run.answer, from, to, this.#scale);
      this.#drawAxis(Math.max(0, from), to);
      this.#drawn = drawn;
    }
    this.#drawPending(run);
    this.#drawLoudness(run);
  }

  #drawAxis(from, to) {
    const step = STEPS.find((seconds) => seconds * this.#scale >= TICK_ROOM) ?? STEPS.at(-1);
    const ticks = [];
    const last = Math.min(to, (this.axis.clientWidth - LABEL) / this.#scale);
    for (let time = Math.ceil(from / step) * step; time <= last; time += step) {
      const tick = document.createElement("span");
      tick.textContent = clock(time);
      tick.style.left = `${time * this.#scale}px`;
      ticks.push(tick);
    }
    this.axis.replaceChildren(...ticks);
  }

  /** What has been heard and may not have been labelled yet. */
  #drawPending(run) {
    const heard = run.heardSeconds();
    const from = Math.min(heard, Math.max(0, heard - run.latency, run.answer.end));
    this.pending.hidden = run.over || run.source.speed === Infinity || heard === 0;
    this.pending.style.left = `${this.axis.offsetLeft + from * this.#scale}px`;
    this.pending.style.width = `${(heard - from) * this.#scale}px`;
  }

  #drawLoudness(run) {
    const { canvas } = this;
    const ratio = devicePixelRatio;
    const height = canvas.clientHeight;
    if (canvas.width !== Math.round(this.view * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.style.width = `${this.view}px`;
      canvas.width = Math.round(this.view * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, this.view, height);
    pen.fillStyle = getComputedStyle(canvas).color;
    const blocks = 10 / this.#scale; // a pixel
    const known = run.heardSeconds() * 10;
    const first = Math.floor(this.root.scrollLeft / COLUMN) * COLUMN;
    for (let at = first; at < first + this.view + COLUMN && at * blocks < known; at += COLUMN) {
      const levels = run.tape.levels.slice(Math.floor(at * blocks), Math.ceil((at + COLUMN) * blocks));
      const tall = Math.max(1, Math.max(0, ...levels) ** 1.5 * height);
      pen.fillRect(at - this.root.scrollLeft, (height - tall) / 2, COLUMN - 1, tall);
    }
  }
}
