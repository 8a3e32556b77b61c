/* Single-key shortcuts, which can be turned off and never take a key from where text is typed. */

/** keys: what each does, by KeyboardEvent.key in lower case. enabled: tells whether they are on. */
export function listenForKeys(keys, enabled) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || !enabled()) return;
    if (event.target.closest("dialog, select, textarea, input:not([type=checkbox], [type=range])")) return;
    const action = keys[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action(event.key);
  });
}
