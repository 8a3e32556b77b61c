/* Where the reader is, and the sound of it. */

const PIECE = 1 << 20; // characters of base64 decoded at once

class Player extends EventTarget {
  #time = 0;

  /** sound: MP3 in base64, or nothing. length: of the recording, in seconds. */
  constructor(sound, length) {
    super();
    this.length = length;
    this.audio = null;
    if (!sound) return;
    const pieces = [];
    for (let at = 0; at < sound.length; at += PIECE) {
      pieces.push(Uint8Array.from(atob(sound.slice(at, at + PIECE)), (letter) => letter.charCodeAt(0)));
    }
    this.audio = new Audio(URL.createObjectURL(new Blob(pieces, { type: "audio/mpeg" }))); // unlike a data URI, all browsers seek in it
    this.audio.preservesPitch = true;
    for (const event of ["play", "pause", "seeked", "timeupdate", "loadedmetadata"]) {
      this.audio.addEventListener(event, () => this.#moved());
    }
    this.audio.addEventListener("play", () => this.#follow());
  }

  get time() {
    return this.audio ? this.audio.currentTime : this.#time;
  }

  get playing() {
    return this.audio !== null && !this.audio.paused;
  }

  seek(time) {
    const within = Math.max(0, Math.min(this.length, time));
    if (this.audio) this.audio.currentTime = within;
    this.#time = within;
    this.#moved();
  }

  toggle() {
    if (!this.audio) return;
    if (this.audio.paused) this.audio.play();
    else this.audio.pause();
  }

  /** While it plays, every picture of the screen. */
  #follow() {
    this.#moved();
    if (this.playing) requestAnimationFrame(() => this.#follow());
  }

  #moved() {
    this.dispatchEvent(new Event("move"));
  }
}
