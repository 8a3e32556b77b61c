/* What is set before a recording, and remembered from one visit to the next. */

import { microphones } from "./microphone.js";

const $ = (id) => document.getElementById(id);
const MOST_SPEAKERS = 12; // on offer; the server takes more

export class Settings {
  constructor() {
    const counts = Array.from({ length: MOST_SPEAKERS }, (_, index) => new Option(index + 1, index + 1));
    $("speakers").append(new Option("Find out", 0), ...counts);
    $("token").value = new URLSearchParams(location.search).get("token") ?? "";
    for (const id of ["latency", "speed", "erase"]) this.#keep($(id));
    $("latency").addEventListener("input", () => this.#say());
    this.#say();
    this.#theme();
    this.findDevices();
    navigator.mediaDevices?.addEventListener("devicechange", () => this.findDevices());
    $("device").addEventListener("change", () => remember("device", this.device));
  }

  get device() {
    return $("device").value;
  }

  get speed() {
    return Number($("speed").value);
  }

  /** What a run of this name is started with. */
  for(uri) {
    return {
      url: address($("token").value),
      uri,
      latency: Number($("latency").value),
      speakers: Number($("speakers").value),
      erase: $("erase").checked,
    };
  }

  /** Offer the microphones there are; the browser names them only after it has been allowed one. */
  async findDevices() {
    const select = $("device");
    const wanted = select.value || recall("device");
    const found = await microphones();
    select.replaceChildren(select.options[0], ...found.map(({ id, name }) => new Option(name, id)));
    if (found.some(({ id }) => id === wanted)) select.value = wanted;
  }

  askForToken() {
    $("token-box").open = true;
    $("token").focus();
  }

  toggleTheme() {
    const dark = document.documentElement.dataset.theme !== "dark";
    remember("theme", dark ? "dark" : "light");
    this.#theme();
  }

  /** As it was chosen here, else as the system has it. */
  #theme() {
    const system = matchMedia("(prefers-color-scheme: dark)");
    const show = () => {
      const theme = recall("theme") ?? (system.matches ? "dark" : "light");
      document.documentElement.dataset.theme = theme;
      $("theme").setAttribute("aria-pressed", theme === "dark");
    };
    system.onchange = show;
    show();
  }

  #say() {
    $("latency-said").value = `${Number($("latency").value).toFixed(1)} s`;
  }

  #keep(control) {
    const field = control.type === "checkbox" ? "checked" : "value";
    const kept = recall(control.id);
    if (kept !== null) control[field] = field === "checked" ? kept === "true" : kept;
    control.addEventListener("change", () => remember(control.id, control[field]));
  }
}

/** The server's address for audio: beside this page, and as safe as it is. */
function address(token) {
  const url = new URL("stream", location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  if (token) url.searchParams.set("token", token);
  return url.href;
}

// a browser may be told to keep nothing: then nothing is remembered

function remember(key, value) {
  try {
    localStorage.setItem(`diarize.${key}`, value);
  } catch {}
}

function recall(key) {
  try {
    return localStorage.getItem(`diarize.${key}`);
  } catch {
    return null;
  }
}
