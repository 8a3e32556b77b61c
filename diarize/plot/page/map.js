/* The map of the voices: every window of speech a point, near those that sound alike. */

const BORDER = 16; // pixels around the points
const LARGEST = 5; // pixels, the radius of a window of the best quality
const GRASP = 14; // pixels that the pointer may be from a point

class VoiceMap {
  #heard = -1;

  /** names: of the speakers, and of nobody at -1. seek: called with a time in seconds. */
  constructor(canvas, says, voices, names, seek) {
    Object.assign(this, { canvas, says, voices, names });
    canvas.addEventListener("pointermove", (event) => this.#tell(this.#nearest(event)));
    canvas.addEventListener("pointerleave", () => this.#tell(-1));
    canvas.addEventListener("click", (event) => {
      const window = this.#nearest(event);
      if (window >= 0) seek(voices.times[window][0]);
    });
    new ResizeObserver(() => this.draw()).observe(canvas);
    this.#tell(-1);
  }

  /** The window that is heard at a time gets a ring. */
  move(time) {
    const window = lastBefore(this.voices.times, time + 0.0005);
    const heard = window >= 0 && time < this.voices.times[window][1] ? window : -1;
    if (heard === this.#heard) return;
    this.#heard = heard;
    this.draw();
  }

  draw() {
    const { canvas, voices } = this;
    const size = canvas.clientWidth;
    if (!size) return;
    canvas.width = canvas.height = Math.round(size * devicePixelRatio);
    const pen = canvas.getContext("2d");
    pen.scale(devicePixelRatio, devicePixelRatio);
    const ink = getComputedStyle(canvas).color;
    const circle = ([x, y], radius) => {
      pen.beginPath();
      pen.arc(x, y, radius, 0, 2 * Math.PI);
    };
    voices.points.forEach((point, window) => {
      pen.globalAlpha = 0.75;
      pen.fillStyle = tinted(this.names.get(voices.speakers[window]).colour);
      circle(this.#place(point), LARGEST * Math.sqrt(voices.quality[window]));
      pen.fill();
    });
    pen.globalAlpha = 1;
    pen.strokeStyle = ink;
    pen.lineWidth = 2.5;
    for (const [, x, y] of voices.means) {
      const [left, top] = this.#place([x, y]);
      pen.beginPath();
      pen.moveTo(left - 6, top);
      pen.lineTo(left + 6, top);
      pen.moveTo(left, top - 6);
      pen.lineTo(left, top + 6);
      pen.stroke();
    }
    if (this.#heard < 0) return;
    circle(this.#place(voices.points[this.#heard]), 9);
    pen.stroke();
  }

  #place([x, y]) {
    const room = this.canvas.clientWidth - 2 * BORDER;
    return [BORDER + x * room, BORDER + (1 - y) * room];
  }

  #nearest(event) {
    const box = this.canvas.getBoundingClientRect();
    let [nearest, least] = [-1, GRASP];
    this.voices.points.forEach((point, window) => {
      const [left, top] = this.#place(point);
      const far = Math.hypot(event.clientX - box.left - left, event.clientY - box.top - top);
      if (far < least) [nearest, least] = [window, far];
    });
    return nearest;
  }

  #tell(window) {
    const { voices, names } = this;
    this.says.textContent =
      window < 0
        ? "A point is a window of speech, near those that sound alike; a cross is a mean voice. Click to go there."
        : `${names.get(voices.speakers[window]).name} at ${clock(voices.times[window][0], true)}`;
  }
}
