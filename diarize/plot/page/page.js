/* The page: what is in it, and what its controls and keys do. */

const STRIDE = 5; // seconds of an arrow key
const ZOOM = 1.6;

const content = JSON.parse($("content").textContent);
const speakers = content.groups.at(-1).speakers;
const player = new Player($("sound").textContent.trim(), content.duration);
const go = (time) => player.seek(time);
const timeline = new Timeline($("timeline"), content, go);
const pictures = [];

const title = content.title || "Who spoke when";
document.title = title;
$("title").textContent = title;
const counted = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
const turns = speakers.flatMap((speaker) => speaker.turns).sort((one, other) => one[0] - other[0]);
$("facts").textContent = [counted(speakers.length, "speaker"), counted(turns.length, "turn"), content.scores]
  .filter(Boolean)
  .join(" · ");
$("length").textContent = ` / ${clock(content.duration)}`;
$("play").hidden = $("speed-box").hidden = !player.audio;
$("silence").hidden = speakers.length > 0;
$("speakers-how").hidden = !speakers.length;

/* the speakers */

const talked = speakers.reduce((sum, speaker) => sum + speaker.seconds, 0);
const rows = speakers.map((speaker) => {
  const row = element("li", "speaker");
  const button = element("button", "");
  const share = element("span", "share", `${Math.round((100 * speaker.seconds) / talked)} % · ${clock(speaker.seconds)}`);
  const bar = element("span", "bar");
  bar.append(element("i", ""));
  bar.firstChild.style.width = `${(100 * speaker.seconds) / talked}%`;
  button.type = "button";
  button.append(element("span", "name", named(speaker.name)), share, bar);
  button.addEventListener("click", () => {
    const next = speaker.turns[lastBefore(speaker.turns, player.time + 0.0005) + 1] ?? speaker.turns[0];
    go(next[0]);
  });
  tint(row, speaker.colour);
  row.append(button);
  return row;
});
$("speakers").append(...rows);

/* the errors */

const wrong = content.errors.flatMap((kind) => kind.turns).sort((one, other) => one[0] - other[0]);
const nextError = () => wrong.length && go((wrong[lastBefore(wrong, player.time + 0.0005) + 1] ?? wrong[0])[0]);
$("next-error").hidden = !wrong.length;
$("next-error").addEventListener("click", nextError);
$("legend").hidden = !content.errors.length;
for (const kind of content.errors) {
  const key = element("span", "key", kind.name);
  tint(key, kind.colour);
  $("legend").append(key);
}

/* the voices */

if (content.voices) {
  const names = new Map(speakers.map((speaker, number) => [number, { name: named(speaker.name), colour: speaker.colour }]));
  names.set(-1, { name: "nobody", colour: content.voices.nobody });
  $("similarity").hidden = $("voices").hidden = false;
  const matrix = new Matrix($("matrix"), $("matrix-says"), content.voices, names, go);
  const map = new VoiceMap($("map"), $("map-says"), content.voices, names, go);
  pictures.push({ draw: () => matrix.draw($("by-speaker").checked), move: () => {} }, map);
  $("by-speaker").addEventListener("change", () => matrix.draw($("by-speaker").checked));
}
const redraw = () => pictures.forEach((picture) => picture.draw());
dark.addEventListener("change", redraw);
redraw();

/* where the reader is */

player.addEventListener("move", () => {
  const { time, playing } = player;
  timeline.move(time, playing);
  pictures.forEach((picture) => picture.move(time));
  $("time").textContent = clock(time, true);
  $("play").textContent = playing ? "Pause" : "Play";
  const speaking = speakers.map((speaker) => around(speaker.turns, time) !== null);
  rows.forEach((row, number) => row.classList.toggle("speaks", speaking[number]));
  timeline.lanes.forEach(({ lane, turns }) => lane.classList.toggle("speaks", around(turns, time) !== null));
  const who = speakers.filter((_, number) => speaking[number]).map((speaker) => named(speaker.name));
  $("now").textContent = who.join(" and ");
});
go(0);

/* controls and keys */

$("play").addEventListener("click", () => player.toggle());
$("speed").addEventListener("change", () => (player.audio.playbackRate = Number($("speed").value)));
$("zoom-in").addEventListener("click", () => timeline.zoom(ZOOM));
$("zoom-out").addEventListener("click", () => timeline.zoom(1 / ZOOM));
$("fit").addEventListener("click", () => timeline.fit());

function step(forward) {
  const last = lastBefore(turns, player.time + 0.0005);
  const next = forward ? last + 1 : turns[last]?.[0] < player.time - 0.5 ? last : last - 1; // as on a music player
  go(turns[next]?.[0] ?? (forward ? player.time : 0));
}

const keys = {
  " ": () => player.toggle(),
  ArrowLeft: (shift) => (shift ? step(false) : go(player.time - STRIDE)),
  ArrowRight: (shift) => (shift ? step(true) : go(player.time + STRIDE)),
  "+": () => timeline.zoom(ZOOM),
  "-": () => timeline.zoom(1 / ZOOM),
  0: () => timeline.fit(),
  e: nextError,
};
document.addEventListener("keydown", (event) => {
  const act = keys[event.key];
  const takesKeys = event.target.closest?.("select, input") || (event.key === " " && event.target.closest?.("button"));
  if (!act || event.ctrlKey || event.metaKey || event.altKey || takesKeys) return;
  event.preventDefault();
  act(event.shiftKey);
});
