/* What went wrong, in words that say what to do, and times as people write them. */

const FAILURES = {
  // of the microphone
  NotAllowedError: ["The microphone was refused", "Allow it for this page (the sign beside the address), then start again."],
  NotFoundError: ["No microphone was found", "Plug one in or choose another, then start again."],
  OverconstrainedError: ["That microphone is not there any more", "Choose another one, then start again."],
  NotReadableError: ["The microphone cannot be read", "Another program may be using it: close that, or choose another device."],
  NetworkError: ["The microphone went away", "What was heard until then is being finished."],
  SecurityError: [
    "Browsers give the microphone only to safe pages",
    "Open this page at https:// or at localhost; a server with --tls-cert and --tls-key has https.",
  ],
  // of a file
  EncodingError: [
    "This file cannot be decoded here",
    "Choose WAV, FLAC, MP3, Ogg or M4A; for anything else use the command diarize file.",
  ],
  // of the connection
  unreachable: [
    "The server did not answer",
    "See that it runs (diarize serve), that the address is right and that this page may use it, then start again.",
  ],
  lost: ["The connection broke and cannot be taken up again", "What was labelled until then is below and can be downloaded."],
  unauthorized: ["The server wants its token", "Enter it below, under Server token, then start again."],
  full: ["The server has no room for one more", "Try again in a moment."],
  idle: ["The server heard nothing for too long and ended the session", "What was labelled until then is below."],
  too_big: ["The server took our audio for too big", "Start again; if it happens again, tell who runs the server."],
  bad_audio: ["The server cannot use this audio", "Start again, with another browser or device if need be."],
  unknown_session: ["The server does not know this session any more", "What was labelled until then is below and can be downloaded."],
  internal: ["The server failed", "What was labelled until then is below; its log says why."],
};

/** {title, remedy} for an error of the browser or of the server. */
export function explain({ name, code, message }) {
  const [title, remedy] = FAILURES[code] ?? FAILURES[name] ?? ["That did not work", ""];
  return { title, remedy: remedy || message || "Start again." };
}

const WARNINGS = {
  clipped: ["The audio is too loud and clips.", "Turn the microphone down, or move away from it."],
  slow: ["The server cannot keep up.", "Labels come later than they should; none is lost."],
  not_resumable: ["This session cannot be taken up again if the connection breaks.", "The server keeps no journal."],
  not_finite: ["Some of the audio was damaged.", "It counts as silence."],
};

/** [title, remedy] for a warning of the server. */
export function warn({ code, message }) {
  return WARNINGS[code] ?? [message, ""];
}

/** Seconds as 0:05, 12:34 or 1:02:03; with one decimal where asked. */
export function clock(seconds, decimals = 0) {
  const unit = 10 ** decimals;
  const whole = Math.floor(seconds * unit + 1e-6) / unit;
  const minutes = Math.floor(whole / 60);
  const rest = (whole % 60).toFixed(decimals).padStart(decimals ? 3 + decimals : 2, "0");
  return minutes < 60 ? `${minutes}:${rest}` : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
}

/** "Ana", "Ana and Ben", "Ana, Ben and Cleo". */
export function list(names) {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}
