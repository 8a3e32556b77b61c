/* The answer as files. */

/** What can be downloaded: by suffix the type and how to write a run. */
export const FORMATS = {
  rttm: { type: "text/plain", write: (run) => run.rttm ?? rttm(run) },
  json: { type: "application/json", write: json },
  srt: { type: "application/x-subrip", write: srt },
};

/** Let the browser save a text under a name. */
export function save(name, text, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** RTTM as the server writes it: ten fields, what would break them written as in a URL. */
function rttm({ answer, settings }) {
  const field = (name) => name.replace(/[\s%"\p{Cc}]/gu, encodeURIComponent) || "<NA>";
  const line = ({ start, end, speaker }) => {
    const name = answer.speakers.get(speaker).name || speaker;
    const duration = Math.max(0.001, end - start).toFixed(3);
    return `SPEAKER ${field(settings.uri)} 1 ${start.toFixed(3)} ${duration} <NA> <NA> ${field(name)} <NA> <NA>\n`;
  };
  return answer.current().map(line).join("");
}

function json(run) {
  const name = (label) => run.answer.speakers.get(label).name || null;
  const turns = run.answer.current().map(({ start, end, speaker, confidence, state }) => {
    return { start, end, speaker, name: name(speaker), confidence, state };
  });
  const speakers = run.answer.talkTime().map(({ label, seconds }) => {
    return { speaker: label, name: name(label), seconds: Math.round(seconds * 1000) / 1000 };
  });
  const duration = Math.round(run.heardSeconds() * 1000) / 1000;
  const content = { version: 1, uri: run.settings.uri, duration, final: run.final, speakers, turns };
  return JSON.stringify(content, null, 2) + "\n";
}

function srt({ answer }) {
  const time = (seconds) => new Date(Math.round(seconds * 1000)).toISOString().slice(11, 23).replace(".", ",");
  const cue = ({ start, end, speaker }, index) =>
    `${index + 1}\n${time(start)} --> ${time(end)}\n${answer.title(speaker)}\n`;
  return answer.current().map(cue).join("\n");
}
