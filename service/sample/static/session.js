// The visitor's session: sign in and out, count visits, and show what the store holds.

import { ask } from "./responses.js";
import { refresh as refreshFiles } from "./files.js";
import { $, showDate, text, write } from "./text.js";

let visits = 0;

export function start() {
  visits = Number($("visits").textContent);
  for (const id of ["session-created", "session-expires"]) {
    if ($(id).dateTime) showDate($(id), $(id).dateTime);
  }
  on("sign-in", async () => {
    const { name, key } = Object.fromEntries(new FormData($("sign-in")));
    await ask("PUT", "/api/session", { document: { name }, headers: { "Idempotency-Key": key } });
    await refresh();
    $("sign-out").querySelector("button").focus();
  });
  on("sign-out", async () => {
    await ask("DELETE", "/api/session");
    visits = 0;
    await refresh();
    await refreshFiles();
    $("visitor-name").focus();
  });
  on("visit", async () => {
    const { document: answer, instance } = await ask("POST", "/api/session/visits");
    show(answer.visits, visits + 1, instance);
    await refresh();
  });
}

/** Ask for the session, and show it. */
export async function refresh() {
  try {
    const { document: session, instance } = await ask("GET", "/api/session");
    $("session-body").hidden = false;
    write($("session-trouble"), "");
    $("sign-in").hidden = Boolean(session.name);
    $("sign-out").hidden = !session.name;
    write($("session-name"), session.name ?? "");
    write($("session-store"), session.store);
    show(session.visits, visits, instance);
    showDate($("session-created"), session.created, text("no-session"));
    showDate($("session-expires"), session.expires, text("none"));
  } catch (refused) {
    trouble(refused);
  }
}

/** Show the counter. With sessions in memory it may be another instance's counter, and not the one to be expected. */
function show(count, expected, instance) {
  if (count !== expected && $("session-store").textContent === "memory") {
    write($("session-note"), text("jump", { before: visits, now: count, instance }));
  }
  visits = count;
  write($("visits"), String(count));
}

/** Let a form be done by the script instead, once at a time. */
function on(id, action) {
  const form = $(id);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (form.ariaBusy === "true") return;
    form.ariaBusy = "true";
    try {
      write($("session-trouble"), "");
      await action();
    } catch (refused) {
      trouble(refused);
      if (refused.status === 409) {
        await refresh();
        write($("session-note"), text("moved"));
      }
    } finally {
      form.ariaBusy = "false";
    }
  });
}

function trouble(refused) {
  write($("session-trouble"), refused.message || text("no-answer"));
}
