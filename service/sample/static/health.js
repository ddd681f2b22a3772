// Live, ready, and each dependency, as the instance that responded last says.

import { onStatus } from "./instance.js";
import { $, text, write } from "./text.js";

const WORDS = { pass: "yes", warn: "unknown", fail: "no" };

let before = "";

/** ``onBack()`` is called when a dependency can serve again, or another instance responds. */
export function start(onBack) {
  onStatus((status) => {
    if (status) {
      show("live", status.live);
      show("ready", status.ready);
      for (const [name, state] of Object.entries(status.dependencies)) show(name, state);
      write($("health-by"), status.instance.name);
    } else {
      show("live", { status: "fail", output: text("no-answer") });
      show("ready", { status: "fail", output: text("no-answer") });
      for (const name of ["sessions", "storage"]) show(name, { status: "warn" });
    }
    const now = status ? Object.values(status.dependencies).map((state) => state.status).join() : "";
    if (before !== now && now && before) onBack();
    before = now || before;
  });
}

function show(name, { status, output = "" }) {
  const row = $(`state-${name}`);
  if (!row) return;
  row.dataset.state = status;
  write(row.querySelector(".word"), text(WORDS[status] ?? "unknown"));
  write(row.querySelector(".why"), output);
}
