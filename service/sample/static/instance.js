// Which instance responded: the facts of the last one, a mark for each of the last responses, and the switch that keeps
// asking.

import { ask, onResponse, responses } from "./responses.js";
import { $, date, duration, text, write } from "./text.js";

const MARKS = 30;
const EVERY = 700; // milliseconds between two questions
const AT_MOST = 8000; // milliseconds, when nothing responds

const letters = new Map(); // of instances, in the order in which they came: the letter, so that colour is not all
const listeners = [];
let wait = EVERY;
let timer = 0;
let asking = false;

/** Call ``listener(status)`` with each response of /api/status, and with null where there is none. */
export function onStatus(listener) {
  listeners.push(listener);
}

export function start() {
  onResponse(draw);
  onStatus(showInstance);
  $("keep-asking").addEventListener("change", resume);
  document.addEventListener("visibilitychange", resume);
  setInterval(showUptime, 1000);
  showUptime();
  const started = $("instance-started");
  started.textContent = date(started.dateTime);
  resume();
}

/** Ask at once, if asking is on, and go on. */
export function resume() {
  clearTimeout(timer);
  wait = EVERY;
  const paused = document.hidden || !$("keep-asking").checked;
  write($("connection"), $("keep-asking").checked ? "" : text("paused"));
  if (!paused) keepAsking();
}

async function keepAsking() {
  if (asking) return;
  asking = true;
  try {
    const { document: status } = await ask("GET", "/api/status");
    wait = EVERY;
    for (const listener of listeners) listener(status);
    write($("connection"), "");
  } catch {
    wait = Math.min(wait * 2, AT_MOST);
    for (const listener of listeners) listener(null);
    write($("connection"), text("lost", { seconds: Math.round(wait / 1000) }));
  } finally {
    asking = false;
  }
  clearTimeout(timer);
  if (!document.hidden && $("keep-asking").checked) {
    timer = setTimeout(keepAsking, wait * (0.9 + 0.2 * Math.random()));
  }
}

function showInstance(status) {
  if (!status) return;
  const { instance } = status;
  write($("instance-name"), instance.name);
  write($("instance-version"), instance.version);
  write($("instance-revision"), instance.revision.slice(0, 12));
  const started = $("instance-started");
  if (started.dateTime !== instance.started) {
    started.dateTime = instance.started;
    started.textContent = date(instance.started);
  }
  showUptime();
}

function showUptime() {
  const seconds = (Date.now() - new Date($("instance-started").dateTime)) / 1000;
  write($("instance-uptime"), text("uptime", { time: duration(Math.max(0, seconds)) }));
}

function letter(instance) {
  if (!letters.has(instance)) letters.set(instance, String.fromCharCode(65 + (letters.size % 26)));
  return letters.get(instance);
}

function draw(response) {
  const mark = document.createElement("li");
  const instance = response.instance || text("nobody");
  if (response.failed) {
    mark.className = "failed";
    mark.textContent = "×";
    mark.title = text("mark-failed", { instance, why: response.failed });
  } else {
    const own = letter(response.instance);
    mark.className = `hue-${(own.charCodeAt(0) - 65) % 6}`;
    mark.textContent = own;
    mark.title = text("mark", { letter: own, instance, milliseconds: Math.round(response.milliseconds) });
  }
  const strip = $("strip");
  strip.append(mark);
  while (strip.childElementCount > MARKS) strip.firstElementChild.remove();
  drawLegend();
}

function drawLegend() {
  const counts = new Map();
  for (const { instance, failed } of responses.slice(-MARKS)) {
    if (!failed) counts.set(instance, (counts.get(instance) ?? 0) + 1);
  }
  const legend = $("legend");
  while (legend.childElementCount > counts.size) legend.lastElementChild.remove();
  while (legend.childElementCount < counts.size) {
    const entry = document.createElement("li");
    entry.append(document.createElement("span"), document.createElement("bdi"));
    legend.append(entry);
  }
  [...counts].forEach(([instance, count], position) => {
    const [mark, label] = legend.children[position].children;
    mark.className = `mark hue-${(letter(instance).charCodeAt(0) - 65) % 6}`;
    write(mark, letter(instance));
    write(label, text("legend", { instance, count }));
  });
}
