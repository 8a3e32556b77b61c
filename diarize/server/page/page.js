/* The page: its controls, and what they do to a run. */

import { FORMATS, save } from "./downloads.js";
import { listenForKeys } from "./keys.js";
import { openMicrophone } from "./microphone.js";
import { openRecording } from "./recording.js";
import { Run } from "./run.js";
import { Settings } from "./settings.js";
import { View } from "./view.js";
import { explain, warn } from "./words.js";

const $ = (id) => document.getElementById(id);

const PHASES = {
  idle: "Ready",
  opening: "Opening",
  connecting: "Connecting",
  live: "Live",
  waiting: "Reconnecting",
  ending: "Finishing",
  done: "Finished",
  failed: "Stopped",
};
const BUSY = ["connecting", "live", "waiting", "ending"];

const settings = new Settings();
const view = new View();
let run = null;
let phase = "idle";
let awake = null;

function become(next) {
  phase = document.body.dataset.phase = next;
  const before = next === "idle" || next === "opening";
  const busy = BUSY.includes(next);
  $("connection-text").textContent = PHASES[next];
  $("setup").hidden = !before;
  $("setup").inert = next === "opening";
  $("live").hidden = before;
  $("end").hidden = !busy;
  $("end").textContent = run?.ended ? "Stop waiting" : "End";
  $("again").hidden = busy;
  $("kind").textContent = next === "done" ? "Final" : "So far";
  if (!before) view.become(next);
  if (document.activeElement?.closest("[hidden]")) $("now").focus({ preventScroll: true }); // its control has gone
}

/** Start a run of this name with the source that open gives. */
async function start(uri, open) {
  if (phase !== "idle") return;
  $("notices").replaceChildren();
  become("opening");
  try {
    const fresh = new Run(settings.for(uri), await open(), {
      heard: (message) => fresh === run && take(message),
      state: (state, reason) => fresh === run && follow(state, reason),
    });
    run = fresh;
  } catch (error) {
    return abort(error);
  }
  view.show(run);
  run.start();
  $("now").focus({ preventScroll: true });
  awake = await navigator.wakeLock?.request("screen").catch(() => null);
}

async function startMicrophone() {
  const uri = `live-${new Date().toISOString().slice(0, 19).replace(/[T:]/g, "-")}`;
  await start(uri, () => openMicrophone(settings.device));
  settings.findDevices();
}

async function startFile(file) {
  const uri = file.name.replace(/\.[^.]*$/, "").replace(/[\s\p{C}]+/gu, " ").trim().slice(0, 100);
  await start(uri || "recording", () => openRecording(file, settings.speed));
}

/** Back to the beginning, with the reason. */
function abort(error) {
  run = null;
  become("idle");
  const { title, remedy } = explain(error);
  notify(title, remedy);
  if (error.code === "unauthorized") settings.askForToken();
  else $("start").focus();
}

function take(message) {
  if (message.type === "warning") notify(...warn(message), "soft");
  if (message.type === "error" && !message.fatal) notify("The server did not do that", message.message);
  view.refresh();
}

function follow(state, reason) {
  if (reason && reason.code !== "closed") {
    if (state === "failed" && !run.answer.turns.size) return abort(reason);
    const { title, remedy } = explain(reason);
    notify(title, remedy);
  }
  if (state === "ended") state = phase;
  become(state === "live" && run.ended ? "ending" : state);
  if (!run.over) return;
  awake?.release();
  if (run.tape.lost) {
    const seconds = Math.ceil(run.tape.lost / run.tape.rate);
    notify(`${seconds} s of audio were lost while the server was away.`, "They count as silence; all times are right.", "soft");
  }
}

function end() {
  if (!BUSY.includes(phase)) return;
  if (run.ended) return run.abandon();
  run.end();
  become(phase === "live" ? "ending" : phase);
}

function again() {
  run = null;
  become("idle");
  $("start").focus();
}

function download(format) {
  const { type, write } = FORMATS[format];
  if (run) save(`${run.settings.uri}.${format}`, write(run), type);
}

/** Say something above the page, in plain words. */
function notify(title, remedy, tone = "hard") {
  const notice = document.createElement("div");
  const words = document.createElement("p");
  const strong = document.createElement("strong");
  const close = document.createElement("button");
  notice.className = `notice ${tone}`;
  strong.textContent = title;
  words.append(strong, ` ${remedy}`);
  close.type = "button";
  close.textContent = "Dismiss";
  close.onclick = () => notice.remove();
  notice.append(words, close);
  for (const other of $("notices").children) if (other.textContent === notice.textContent) other.remove();
  $("notices").append(notice);
}

$("start").onclick = startMicrophone;
$("choose").onclick = () => $("file").click();
$("file").onchange = () => {
  for (const file of $("file").files) startFile(file);
  $("file").value = ""; // the same file may be chosen again
};
$("end").onclick = end;
$("again").onclick = again;
$("theme").onclick = () => settings.toggleTheme();
$("help").onclick = () => $("shortcuts").showModal();
$("close").onclick = () => $("shortcuts").close();
for (const button of document.querySelectorAll("[data-format]")) button.onclick = () => download(button.dataset.format);

const look = (change) => () => {
  change();
  view.refresh();
};
$("follow").onclick = look(() => view.timeline.follow());
$("fit").onclick = look(() => view.timeline.fit());
$("zoom-in").onclick = look(() => view.timeline.zoom(1.5));
$("zoom-out").onclick = look(() => view.timeline.zoom(1 / 1.5));

addEventListener("dragover", (event) => {
  event.preventDefault();
  if (phase === "idle") document.body.classList.add("dropping");
});
addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dropping"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  for (const file of event.dataTransfer.files) startFile(file); // the first: a second one finds the page busy
});
addEventListener("beforeunload", (event) => BUSY.includes(phase) && event.preventDefault());

const press = (id) => () => $(id).offsetParent && $(id).click();
listenForKeys(
  {
    s: press("start"),
    o: press("choose"),
    e: press("end"),
    n: press("again"),
    m: press("merge"),
    d: () => download("rttm"),
    l: press("follow"),
    t: press("theme"),
    0: press("fit"),
    "+": press("zoom-in"),
    "-": press("zoom-out"),
    "?": press("help"),
    ...Object.fromEntries(
      Array.from({ length: 9 }, (_, place) => [place + 1, () => run && view.speakers.rename(view.speakers.at(place))]),
    ),
  },
  () => $("keys").checked,
);
