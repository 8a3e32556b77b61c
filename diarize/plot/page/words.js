/* What is said and shown in several places. */

const $ = (id) => document.getElementById(id);

/** 83.4 as 1:23, or with tenths as 1:23.4; from an hour on 1:02:03. */
function clock(seconds, tenths = false) {
  const all = tenths ? Math.floor(seconds * 10 + 0.01) / 10 : Math.floor(seconds + 0.01);
  const pad = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(all / 3600);
  const minutes = Math.floor(all / 60) % 60;
  const rest = tenths ? (all % 60).toFixed(1).padStart(4, "0") : pad(Math.floor(all % 60));
  return hours ? `${hours}:${pad(minutes)}:${rest}` : `${minutes}:${rest}`;
}

const named = (name) => name || "(no name)";

/** A new element with a class and a text; names of any kind are text and never markup. */
function element(tag, kind, text = "") {
  const made = document.createElement(tag);
  made.className = kind;
  made.textContent = text;
  return made;
}

/** The colour as it is on this card: in the dark a little lighter, or the dark ones could not be seen. */
function tint(shown, colour) {
  shown.style.setProperty("--voice", colour);
  shown.classList.add("voice");
}

const dark = matchMedia("(prefers-color-scheme: dark)");

/** The same for a canvas. */
function tinted(colour) {
  if (!dark.matches) return colour;
  const mix = (at) => Math.round(0.7 * parseInt(colour.slice(at, at + 2), 16) + 0.3 * 255);
  return `rgb(${mix(1)} ${mix(3)} ${mix(5)})`;
}

/** The last of the intervals that starts at or before a time, or -1; they are by time. */
function lastBefore(intervals, time) {
  let low = 0;
  let high = intervals.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (intervals[middle][0] <= time) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** The interval that a time is in, or null; to the sample that the browser's clock may be off. */
function around(intervals, time) {
  const found = intervals[lastBefore(intervals, time + 0.0005)];
  return found && time < found[1] ? found : null;
}
