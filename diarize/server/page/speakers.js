/* The list of speakers: how much each has talked, a name to change, and two to merge. */

import { voice } from "./lanes.js";
import { clock } from "./words.js";

const LONGEST = 60; // characters of a name

export class Speakers {
  #items = new Map(); // label -> {item, name, share, bar}
  #merging = null; // the labels chosen so far, or null
  #editing = null;

  /** parts: {list, merge, bar, said, confirm, cancel}, elements. run: gives the run that is shown. */
  constructor(parts, run) {
    this.parts = parts;
    this.run = run;
    parts.merge.onclick = () => (this.#merging ? this.#leave() : this.merge());
    parts.cancel.onclick = () => this.#leave();
    parts.confirm.onclick = () => {
      const [into, speaker] = this.#merging;
      this.run().merge(speaker, into);
      this.#leave();
    };
    parts.bar.parentElement.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.#merging) this.#leave();
    });
  }

  clear() {
    this.#items.clear();
    this.parts.list.replaceChildren();
    if (this.#merging) this.#leave();
  }

  draw(answer, speaking) {
    const speakers = answer.talkTime();
    const all = speakers.reduce((sum, { seconds }) => sum + seconds, 0) || 1;
    for (const { label, row, seconds } of speakers) {
      if (!this.#items.has(label)) this.#add(label, row);
      const { item, name, share, bar } = this.#items.get(label);
      item.classList.toggle("speaks", speaking.includes(label));
      write(name, answer.title(label));
      const verb = this.#merging ? "Choose" : "Rename";
      const told = `${verb} ${answer.title(label)}`;
      if (name.getAttribute("aria-label") !== told) name.setAttribute("aria-label", told);
      if (this.#merging) name.setAttribute("aria-pressed", this.#merging.includes(label));
      else name.removeAttribute("aria-pressed");
      write(share, `${Math.round((100 * seconds) / all)} % · ${clock(seconds)}`);
      bar.style.width = `${(100 * seconds) / all}%`;
    }
    const present = new Set(speakers.map(({ label }) => label));
    for (const [label, { item }] of this.#items) item.hidden = !present.has(label);
    this.#merging = this.#merging?.filter((label) => present.has(label)) ?? null;
    this.parts.merge.disabled = speakers.length < 2 && !this.#merging;
    this.#drawMerge(answer);
  }

  /** Begin to choose two speakers who are one person. */
  merge() {
    if (this.parts.merge.disabled) return;
    this.#merging = [];
    this.parts.bar.hidden = false;
    this.parts.merge.setAttribute("aria-expanded", "true");
    this.draw(this.run().answer, []);
    this.#visible()[0]?.name.focus();
  }

  /** Let a speaker's name be typed. */
  rename(label) {
    const { item, name } = this.#items.get(label) ?? {};
    if (!item || item.hidden || this.#editing) return;
    const input = document.createElement("input");
    const close = (keep) => {
      if (this.#editing !== input) return;
      this.#editing = null;
      const typed = input.value.replace(/[\s\p{C}]+/gu, " ").trim();
      const focused = document.activeElement === input;
      input.replaceWith(name);
      if (focused) name.focus();
      const known = this.run().answer.speakers.get(label).name ?? "";
      if (keep && typed !== known && !/^SPEAKER_\d+$/.test(typed)) this.run().rename(label, typed);
    };
    input.value = this.run().answer.speakers.get(label).name ?? "";
    input.maxLength = LONGEST;
    input.placeholder = name.textContent;
    input.autocomplete = "off";
    input.setAttribute("aria-label", `Name of ${name.textContent}; Enter keeps it, Escape does not`);
    input.onkeydown = (event) => {
      if (event.key === "Enter" || event.key === "Escape") {
        event.preventDefault(); // or the button that takes the focus is pressed too
        close(event.key === "Enter");
      }
    };
    input.onblur = () => close(true);
    this.#editing = input;
    name.replaceWith(input);
    input.focus();
    input.select();
    item.scrollIntoView({ block: "nearest" });
  }

  /** The label of the speaker at a place in the list, from 0. */
  at(place) {
    return this.#visible()[place]?.label;
  }

  #visible() {
    return [...this.#items.values()].filter(({ item }) => !item.hidden);
  }

  #add(label, row) {
    const item = element("li", voice(row));
    const swatch = element("span", "swatch");
    const name = element("button", "name");
    const share = element("span", "share");
    const track = element("span", "share-bar");
    const bar = element("i", "");
    item.dataset.speaker = label;
    name.type = "button";
    name.onclick = () => (this.#merging ? this.#choose(label) : this.rename(label));
    track.append(bar);
    item.append(swatch, name, share, track);
    this.parts.list.append(item);
    this.#items.set(label, { label, item, name, share, bar });
  }

  #choose(label) {
    const chosen = this.#merging;
    if (chosen.includes(label)) chosen.splice(chosen.indexOf(label), 1);
    else if (chosen.length < 2) chosen.push(label);
    else chosen[1] = label;
    this.draw(this.run().answer, []);
    if (chosen.length === 2) this.parts.confirm.focus();
  }

  #drawMerge(answer) {
    if (!this.#merging) return;
    const [into, speaker] = this.#merging.map((label) => answer.title(label));
    const said = speaker
      ? `${into} and ${speaker} are the same person?`
      : into
        ? `Who is the same person as ${into}?`
        : "Choose two who are the same person; the name of the first stays.";
    write(this.parts.said, said);
    this.parts.confirm.disabled = !speaker;
  }

  #leave() {
    this.#merging = null;
    this.parts.bar.hidden = true;
    this.parts.merge.setAttribute("aria-expanded", "false");
    this.parts.merge.focus();
    if (this.run()) this.draw(this.run().answer, []);
  }
}

function element(tag, classes) {
  const made = document.createElement(tag);
  made.className = classes;
  return made;
}

/** Change a text only where it differs: a screen reader need not hear it again. */
function write(where, text) {
  if (where.textContent !== text) where.textContent = text;
}
