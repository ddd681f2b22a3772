// Uploads: chosen or dropped, two at a time, each with its progress. Bodies are streamed by the browser from the disk.
// Nothing is overwritten unasked: each goes out with a condition, and where that does not hold the visitor decides.

import { ask, note, parse, refusal, Refused } from "./responses.js";
import { address, describe, list } from "./listing.js";
import { $, date, percent, say, size, text, write } from "./text.js";

const AT_ONCE = 2;
const TRIES = 10; // while the service is too busy

const waiting = [];
const unsent = new Set(); // what would be lost if the page went now
let running = 0;
let asked = Promise.resolve(); // one question at a time
let gate = Promise.resolve();
let onStored;

/** ``onStored()`` is awaited when a file is stored, before its row goes. */
export function start(options) {
  onStored = options.onStored;
  const input = $("chosen");
  input.addEventListener("change", () => {
    add(input.files);
    input.value = "";
  });
  $("upload").addEventListener("submit", (event) => {
    event.preventDefault();
    add(input.files);
    input.value = "";
  });
  const drop = $("files");
  for (const type of ["dragenter", "dragover", "dragleave", "drop"]) {
    drop.addEventListener(type, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      drop.classList.toggle("dropping", type === "dragenter" || type === "dragover");
      if (type === "drop") add(event.dataTransfer.files);
    });
  }
  addEventListener("beforeunload", (event) => {
    if (unsent.size > 0) event.preventDefault();
  });
}

function add(files) {
  for (const file of files) enqueue(new Upload(file));
}

function enqueue(upload) {
  waiting.push(upload);
  unsent.add(upload);
  upload.show("waiting");
  next();
}

async function next() {
  if (running >= AT_ONCE || !waiting.length) return;
  const upload = waiting.shift();
  running += 1;
  try {
    await upload.run();
  } finally {
    running -= 1;
    next();
  }
}

/**
 * Send when it may be sent. Two uploads of somebody without a session would begin two sessions, and the file of one would
 * be lost to the visitor: the first goes alone.
 */
async function throughGate(send) {
  const before = gate;
  let open;
  gate = new Promise((resolve) => (open = resolve));
  try {
    await before;
    const { document: session } = await ask("GET", "/api/session");
    if (session.exists) open();
    return await send();
  } finally {
    open();
  }
}

class Cancelled extends Error {}
class Skipped extends Error {}

class Upload {
  constructor(file) {
    this.file = file;
    this.name = file.name;
    this.condition = null;
    this.row = $("upload-row").content.firstElementChild.cloneNode(true);
    this.cancelButton = this.row.querySelector(".cancel");
    this.retryButton = this.row.querySelector(".retry");
    this.row.querySelector(".name").textContent = file.name;
    this.label("cancel");
    this.retryButton.setAttribute("aria-label", text("retry", { name: file.name }));
    this.cancelButton.addEventListener("click", () => this.cancel());
    this.retryButton.addEventListener("click", () => this.retry());
    $("uploads").append(this.row);
  }

  show(name, values) {
    this.say(text(name, values));
  }

  /** The one button cancels what goes on, and clears away what is over. */
  label(name) {
    write(this.cancelButton, text(`${name}-button`));
    this.cancelButton.setAttribute("aria-label", text(name, { name: this.name }));
  }

  say(words) {
    write(this.row.querySelector(".word"), words);
  }

  /** Send it, and show what came of it. */
  async run() {
    this.isCancelled = false;
    this.label("cancel");
    this.row.classList.remove("over");
    try {
      await this.check();
      await this.send();
      unsent.delete(this);
      this.show("stored");
      this.bar(1);
      say(text("said-stored", { name: this.name }));
      await onStored();
      this.row.remove();
    } catch (error) {
      this.end(error);
    }
  }

  /** Whether it can be sent at all. Asked before, so that not a gigabyte goes out for nothing. */
  async check() {
    this.show("checking");
    const limit = Number(document.body.dataset.maxUpload);
    if (this.file.size > limit) {
      throw new Refused(413, null, text("too-large", { size: size(this.file.size), limit: size(limit) }));
    }
    try {
      await this.file.slice(0, 1).arrayBuffer();
    } catch {
      throw new Refused(400, null, text("unreadable"));
    }
    if (!this.condition) await this.look();
  }

  /** What is there under this name: nothing, or something that the visitor is asked about. */
  async look() {
    for (;;) {
      const name = this.name.normalize("NFC");
      const { files } = await list({ prefix: name, limit: 1 });
      if (this.isCancelled) throw new Cancelled();
      const there = files[0]?.name === name ? files[0] : null;
      if (!there) {
        this.condition = { "If-None-Match": "*" };
        return;
      }
      const choice = await question(this, there);
      if (this.isCancelled) throw new Cancelled();
      if (choice === "replace") {
        this.condition = { "If-Match": there.etag };
        return;
      }
      if (choice !== "both") throw new Skipped();
      this.name = copyOf(this.name);
      write(this.row.querySelector(".name"), this.name);
    }
  }

  async send() {
    for (let tries = 1; ; tries += 1) {
      try {
        return await throughGate(() => this.put());
      } catch (error) {
        if (error.status === 412 || error.kind === "changed-meanwhile") {
          this.condition = null;
          await this.look();
        } else if (error.kind === "busy" && tries < TRIES) {
          this.show("waiting");
          await new Promise((done) => setTimeout(done, 1000 * (0.5 + Math.random())));
          if (this.isCancelled) throw new Cancelled();
        } else {
          throw error;
        }
      }
    }
  }

  put() {
    if (this.isCancelled) throw new Cancelled();
    return new Promise((resolve, reject) => {
      const request = (this.request = new XMLHttpRequest());
      const began = performance.now();
      request.open("PUT", address(this.name));
      request.setRequestHeader("Accept", "application/json");
      request.setRequestHeader("Content-Type", this.file.type || "application/octet-stream");
      for (const [header, value] of Object.entries(this.condition)) request.setRequestHeader(header, value);
      request.upload.addEventListener("progress", ({ loaded }) => this.progress(loaded));
      request.addEventListener("load", () => {
        note(began, request.status, (name) => request.getResponseHeader(name));
        if (request.status < 300) resolve();
        else reject(refusal(request.status, parse(request.responseText)));
      });
      request.addEventListener("error", () => {
        note(began, 0, () => null);
        reject(new Refused(0, null, text("broke")));
      });
      request.addEventListener("abort", () => reject(new Cancelled()));
      request.send(this.file);
    });
  }

  progress(loaded) {
    const sent = Math.min(loaded, this.file.size);
    if (sent >= this.file.size) {
      this.bar(1);
      this.show("storing");
      return;
    }
    this.bar(sent / this.file.size);
    this.show("sent", { sent: size(sent), size: size(this.file.size), percent: percent(sent / this.file.size) });
  }

  bar(share) {
    this.row.querySelector("progress").value = share;
  }

  cancel() {
    if (this.row.classList.contains("over")) {
      this.row.remove();
      return;
    }
    this.isCancelled = true;
    const position = waiting.indexOf(this);
    if (position >= 0) {
      waiting.splice(position, 1);
      this.end(new Cancelled());
    }
    this.request?.abort();
  }

  retry() {
    this.retryButton.hidden = true;
    this.condition = null;
    enqueue(this);
    this.cancelButton.focus();
  }

  end(error) {
    unsent.delete(this);
    this.row.classList.add("over");
    this.bar(0);
    this.retryButton.hidden = false;
    this.label("dismiss");
    if (error instanceof Cancelled) this.show("cancelled");
    else if (error instanceof Skipped) this.show("skipped");
    else this.say(error.message || text("no-answer"));
  }
}

/** "notes.txt" becomes "notes (2).txt", and that "notes (3).txt". */
function copyOf(name) {
  const [, whole, ending] = /^(.+?)((?:\.[^.]*)?)$/su.exec(name);
  const [, stem, number] = /^(.*?)(?: \((\d{1,6})\))?$/su.exec(whole);
  return text("copy", { stem, number: Number(number ?? 1) + 1, ending });
}

/** Let the visitor decide: "replace", "both", "skip", or "" where the question was left. */
function question(upload, there) {
  const response = asked.then(() => {
    if (upload.isCancelled) return "skip";
    const dialog = $("conflict");
    $("conflict-name").textContent = upload.name;
    $("conflict-theirs").textContent = describe(there);
    const yours = { size: size(upload.file.size), date: date(upload.file.lastModified) };
    $("conflict-yours").textContent = text("yours", yours);
    dialog.returnValue = "";
    dialog.showModal();
    return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue), { once: true }));
  });
  asked = response;
  return response;
}
