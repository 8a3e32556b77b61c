/* The timeline: a lane for each speaker, time from left to right. */

const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200]; // seconds between ticks
const TICK_ROOM = 72; // pixels between ticks
const LABEL = 44; // pixels that a tick's label takes
const CLOSEST = 400; // pixels a second
const AFTER = 12; // pixels after the end
const THINNEST = 1.5; // pixels of a turn
const NEAR = 3; // pixels that a click may miss a turn by

class Timeline {
  #scale = 1;
  #fits = true;
  #drawn = "";

  /** root: the element that scrolls. seek: called with a time in seconds. */
  constructor(root, content, seek) {
    const part = (name) => root.querySelector(`.${name}`);
    this.root = root;
    this.stage = part("stage");
    this.axis = part("axis");
    this.playhead = part("playhead");
    this.length = Math.max(content.duration, 0.1);
    this.lanes = [];
    for (const group of content.groups) {
      if (group.name) part("lanes").append(element("div", "group", group.name));
      for (const speaker of group.speakers) part("lanes").append(this.#lane(speaker, named(speaker.name)));
    }
    if (content.errors.length) {
      const strip = element("div", "strip");
      for (const kind of content.errors) strip.append(this.#lane(kind, ""));
      part("lanes").append(element("div", "group", "errors"), strip);
    }
    this.stage.addEventListener("click", (event) => seek(this.#pointed(event)));
    root.addEventListener("scroll", () => this.#draw());
    root.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    new ResizeObserver(() => this.#resize()).observe(root);
  }

  #lane(speaker, title) {
    const lane = element("div", "lane");
    const name = element("span", "lane-name", title);
    name.title = title;
    const track = element("div", "track");
    tint(lane, speaker.colour);
    lane.append(name, track);
    this.lanes.push({ lane, track, turns: speaker.turns });
    return lane;
  }

  /** The start of the turn that was clicked at, or else the time. */
  #pointed(event) {
    const time = (event.clientX - this.axis.getBoundingClientRect().left) / this.#scale;
    const clicked = this.lanes.find(({ lane }) => lane.contains(event.target));
    if (!clicked) return time;
    const reach = NEAR / this.#scale;
    const turn = clicked.turns[lastBefore(clicked.turns, time + reach)];
    return turn && turn[1] > time - reach ? turn[0] : time;
  }

  #wheel(event) {
    if (!event.ctrlKey) return; // which is also how a pinch on a touch pad comes
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY / 200), event.clientX - this.axis.getBoundingClientRect().left);
  }

  /** Show everything at once. */
  fit() {
    this.#fits = true;
    this.#resize();
  }

  /** at: the pixel of the stage that stays where it is; without it, the middle of the view. */
  zoom(factor, at = this.root.scrollLeft + this.view / 2) {
    const fixed = at / this.#scale;
    const least = this.#whole;
    this.#scale = Math.max(least, Math.min(Math.max(CLOSEST, least), this.#scale * factor));
    this.#fits = this.#scale === least;
    this.#resize();
    this.root.scrollLeft += fixed * this.#scale - at;
  }

  /** Pixels of time in view. */
  get view() {
    return this.root.clientWidth - this.axis.offsetLeft;
  }

  get #whole() {
    return Math.max(1, this.view - AFTER) / this.length;
  }

  #resize() {
    if (this.#fits || this.#scale < this.#whole) this.#scale = this.#whole;
    this.stage.style.width = `${this.axis.offsetLeft + this.length * this.#scale + AFTER}px`;
    this.#draw();
    this.move(this.time ?? 0, false);
  }

  /** Put the playhead at a time. follow: keep it in view. */
  move(time, follow) {
    this.time = time;
    const at = time * this.#scale;
    this.playhead.style.transform = `translateX(${this.axis.offsetLeft + at}px)`;
    const { scrollLeft } = this.root;
    if (follow && (at < scrollLeft || at > scrollLeft + this.view - AFTER)) this.root.scrollLeft = at - 0.1 * this.view;
  }

  /** What is in view, and a view more on either side; drawn again when half a view has gone by. */
  #draw() {
    const page = Math.floor((2 * this.root.scrollLeft) / Math.max(1, this.view));
    const drawn = `${this.#scale} ${this.view} ${page}`;
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    const reach = this.view / this.#scale;
    const from = (page / 2 - 1) * reach;
    const to = (page / 2 + 2.5) * reach;
    for (const { track, turns } of this.lanes) track.replaceChildren(...this.#bars(turns, from, to));
    this.#drawAxis(Math.max(0, from), Math.min(to, this.length));
  }

  /** Turns that less than a pixel parts become one bar, so that there are never more bars than pixels. */
  #bars(turns, from, to) {
    const bars = [];
    let last = null;
    for (let at = Math.max(0, lastBefore(turns, from)); at < turns.length && turns[at][0] < to; at += 1) {
      const left = turns[at][0] * this.#scale;
      const right = Math.max(left + THINNEST, turns[at][1] * this.#scale);
      if (last && left - last.right < 1) last.right = Math.max(last.right, right);
      else bars.push((last = { left, right }));
    }
    return bars.map(({ left, right }) => {
      const bar = element("div", "turn");
      bar.style.left = `${left}px`;
      bar.style.width = `${right - left}px`;
      return bar;
    });
  }

  #drawAxis(from, to) {
    const step = STEPS.find((seconds) => seconds * this.#scale >= TICK_ROOM) ?? STEPS.at(-1);
    const ticks = [];
    const last = Math.min(to, (this.axis.clientWidth - LABEL) / this.#scale);
    for (let count = Math.ceil(from / step); count * step <= last; count += 1) {
      const tick = element("span", "", clock(count * step, step < 1));
      tick.style.left = `${count * step * this.#scale}px`;
      ticks.push(tick);
    }
    this.axis.replaceChildren(...ticks);
  }
}
