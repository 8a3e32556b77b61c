/* The similarity matrix: every window of speech against every other, the speakers along both axes. */

const FINEST = 480; // pixels of the matrix, at least

class Matrix {
  #clicked = null;

  /** names: of the speakers, and of nobody at -1. seek: called with a time in seconds. */
  constructor(canvas, says, voices, names, seek) {
    Object.assign(this, { canvas, says, voices, names, size: voices.times.length });
    this.shades = Uint8Array.from(atob(voices.matrix), (letter) => letter.charCodeAt(0));
    this.cell = Math.ceil(FINEST / this.size);
    this.margin = Math.round((this.size * this.cell) / 30); // the strip of speakers, and half as much after it
    this.before = Math.round(1.5 * this.margin);
    canvas.width = canvas.height = this.before + this.size * this.cell;
    canvas.addEventListener("pointermove", (event) => this.#tell(this.#cell(event)));
    canvas.addEventListener("pointerleave", () => this.#tell(null));
    canvas.addEventListener("click", (event) => {
      const cell = this.#cell(event);
      if (!cell) return;
      const again = this.#clicked && this.#clicked.every((window, side) => window === cell[side]);
      this.#clicked = again ? null : cell;
      seek(voices.times[cell[again ? 1 : 0]][0]);
    });
    this.#tell(null);
  }

  draw(bySpeaker) {
    const { size, cell, before, margin, voices } = this;
    this.order = [...voices.times.keys()];
    const place = (window) => (voices.speakers[window] < 0 ? Infinity : voices.speakers[window]);
    if (bySpeaker) this.order.sort((one, other) => place(one) - place(other) || one - other);
    const palette = voices.palette.map((colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)));
    const picture = new ImageData(size, size);
    this.order.forEach((window, row) =>
      this.order.forEach((other, column) => {
        const shade = palette[this.shades[window * size + other]];
        picture.data.set([...shade, 255], 4 * (row * size + column));
      }),
    );
    const unscaled = document.createElement("canvas");
    unscaled.width = unscaled.height = size;
    unscaled.getContext("2d").putImageData(picture, 0, 0);
    const pen = this.canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    pen.drawImage(unscaled, before, before, size * cell, size * cell);
    this.order.forEach((window, row) => {
      pen.fillStyle = tinted(this.names.get(voices.speakers[window]).colour);
      pen.fillRect(0, before + row * cell, margin, cell);
      pen.fillRect(before + row * cell, 0, cell, margin);
    });
  }

  /** The two windows under the pointer: of its column and of its row. */
  #cell(event) {
    const box = this.canvas.getBoundingClientRect();
    const at = [event.clientX - box.left, event.clientY - box.top];
    const scale = this.canvas.width / box.width;
    const cell = at.map((pixels) => this.order[Math.floor((pixels * scale - this.before) / this.cell)]);
    return cell.includes(undefined) ? null : cell;
  }

  #tell(cell) {
    const { voices, names, size } = this;
    if (!cell) {
      this.says.textContent = "Bright: the same voice. Click for one window of a pair, again for the other.";
      return;
    }
    const [low, high] = voices.span;
    const cosine = low + (this.shades[cell[0] * size + cell[1]] / 255) * (high - low);
    const who = cell.map((window) => `${names.get(voices.speakers[window]).name} at ${clock(voices.times[window][0], true)}`);
    this.says.textContent = `${who.join(" and ")}: cosine ${cosine.toFixed(2)}`;
  }
}
