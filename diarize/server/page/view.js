/* A run as it is seen: who speaks, the gauges, the timeline, the speakers and the turns. */

import { voice } from "./lanes.js";
import { Speakers } from "./speakers.js";
import { Timeline } from "./timeline.js";
import { Turns } from "./turns.js";
import { clock, list } from "./words.js";

const $ = (id) => document.getElementById(id);

/** What the heading says while nobody speaks, by phase: and what the line below it says. */
const HEADINGS = {
  connecting: ["Connecting", "The server is being asked."],
  live: ["Listening", "Labels come as soon as somebody speaks."],
  waiting: ["Connection lost", "Trying again. What is heard meanwhile is kept."],
  ending: ["Finishing", "The whole recording is looked at once more."],
};

export class View {
  #frame = 0;
  #version = -1;
  #speaking = "";
  #said = "";

  constructor() {
    const part = (name) => $(`merge${name && `-${name}`}`);
    this.run = null;
    this.phase = "idle";
    this.speakers = new Speakers(
      { list: $("speaker-list"), merge: part(""), bar: part("bar"), said: part("said"), confirm: part("confirm"), cancel: part("cancel") },
      () => this.run,
    );
    this.timeline = new Timeline($("timeline"), (label) => this.speakers.rename(label));
    this.turns = new Turns($("turns"), $("no-turns"));
    $("timeline").addEventListener("scroll", () => this.refresh());
    new ResizeObserver(() => this.refresh()).observe($("timeline"));
  }

  /** Show another run from now on. */
  show(run) {
    this.run = run;
    this.#version = -1;
    this.#speaking = this.#said = "";
    this.speakers.clear();
    this.turns.clear();
    this.timeline.clear(run.source.length);
    $("spoken").textContent = "";
    this.refresh();
  }

  become(phase) {
    this.phase = phase;
    this.#version = -1;
    if (phase === "done" && this.run.source.length === 0) this.timeline.fit();
    this.refresh();
  }

  /** Draw soon, and go on drawing while the run goes on. */
  refresh() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      if (!this.run) return;
      this.#draw();
      if (!this.run.over) this.refresh();
    });
  }

  #draw() {
    const { answer } = this.run;
    const speaking = this.run.over || this.#hurries ? [] : answer.speaking(performance.now());
    this.timeline.draw(this.run);
    if (this.#version !== answer.version || this.#speaking !== speaking.join()) {
      this.#version = answer.version;
      this.#speaking = speaking.join();
      this.timeline.lanes.speak(speaking);
      this.speakers.draw(answer, speaking);
      this.turns.draw(answer);
      this.#drawNow(answer, speaking);
    }
    this.#drawGauges();
  }

  /** Whether the audio comes so fast that nobody can be said to speak now. */
  get #hurries() {
    return this.run.source.speed === Infinity;
  }

  #drawNow(answer, speaking) {
    const names = list(speaking.map((label) => answer.title(label)));
    const [heading, more] = this.#heading(answer, names);
    $("now").textContent = heading;
    $("now-more").textContent = more;
    const colour = speaking.length ? voice(answer.speakers.get(speaking[0]).row) : "voice-none";
    $("now").parentElement.className = `now-who ${colour}`;
    // only what is new is said, and silence is not
    const said = this.run.over ? `${heading}. ${more}` : names && `${names} speaking`;
    if (said && said !== this.#said) $("spoken").textContent = this.#said = said;
  }

  #heading(answer, names) {
    const people = answer.talkTime().length;
    const turns = answer.current().length;
    const counted = `${people} ${people === 1 ? "speaker" : "speakers"}, ${turns} ${turns === 1 ? "turn" : "turns"}`;
    if (this.phase === "done") return [counted, "This is the final answer."];
    if (this.phase === "failed") return ["Stopped early", `${counted}: not the final answer.`];
    if (this.#hurries && ["live", "ending"].includes(this.phase)) {
      return ["Labelling", `${clock(answer.end)} of ${clock(this.run.source.length)}`];
    }
    if (this.phase === "live" && names) return [names, "speaking now"];
    if (this.phase === "live" && turns) return ["Silence", counted];
    return HEADINGS[this.phase];
  }

  #drawGauges() {
    const { run } = this;
    const heard = run.heardSeconds();
    const { length } = run.source;
    const time = length ? `${clock(heard)} of ${clock(length)}` : clock(heard);
    if ($("time").textContent !== time) $("time").textContent = time;
    const delay = run.delay === null ? "–" : `${run.delay.toFixed(1)} s`;
    if ($("delay").textContent !== delay) $("delay").textContent = delay;
    $("delay-box").hidden = $("level-box").hidden = run.over || this.#hurries;
    const level = run.over ? 0 : run.level();
    $("level").firstElementChild.style.transform = `scaleX(${level.toFixed(3)})`;
    $("level").setAttribute("aria-valuenow", 10 * Math.round(10 * level));
    $("follow").hidden = this.timeline.follows;
  }
}
