// Small charts: of what this browser saw, and of the service's own figures where it offers them.

import { responses } from "./responses.js";
import { onStatus } from "./instance.js";
import { $, decimal, percent, text, write } from "./text.js";

const SECONDS = 60; // a chart's width
const WINDOW = 10; // seconds that one point of rates looks back on

const charts = new Map();
const figures = new Map(); // the last ones of each instance

export function start() {
  setInterval(tick, 1000);
  onStatus(showFigures);
}

function tick() {
  if (document.hidden) return;
  const now = Date.now();
  const recent = responses.filter((response) => now - response.at < WINDOW * 1000);
  const failed = recent.filter((response) => response.failed).length;
  const times = responses
    .filter((response) => !response.failed && now - response.at < SECONDS * 1000)
    .map((response) => response.milliseconds)
    .sort((a, b) => a - b);
  plot("chart-rate", recent.length / WINDOW, decimal);
  plot("chart-errors", recent.length ? failed / recent.length : 0, percent, 1);
  if (times.length) {
    plot("chart-p50", times[Math.floor(times.length * 0.5)], milliseconds);
    plot("chart-p99", times[Math.floor(times.length * 0.99)], milliseconds);
  }
}

/** The difference to what the same instance said last: rates of a counter need two readings of the same counter. */
function showFigures(status) {
  const now = status?.figures;
  if (!now || !$("figures")) return;
  const at = performance.now();
  const last = figures.get(status.instance.name);
  figures.set(status.instance.name, { at, started: status.instance.started, ...now });
  write($("figures-by"), status.instance.name);
  plot("chart-threads", now.threads_busy, (busy) => text("of-threads", { busy, threads: now.threads }), now.threads);
  if (!last || last.started !== status.instance.started || now.requests < last.requests) return;
  const requests = now.requests - last.requests;
  plot("chart-served", (requests * 1000) / (at - last.at), decimal);
  plot("chart-served-errors", requests ? (now.errors - last.errors) / requests : 0, percent, 1);
  const counts = now.latency.map(([bound, count], position) => [bound, count - (last.latency[position]?.[1] ?? 0)]);
  const [bound] = counts.find(([, count]) => count >= 0.99 * requests) ?? [0];
  plot("chart-served-p99", (bound ?? now.latency.at(-2)[0]) * 1000, (value) => `≤ ${milliseconds(value)}`);
}

function milliseconds(value) {
  return text("milliseconds", { value: value < 10 ? decimal(value) : Math.round(value) });
}

function plot(id, value, format, top = 0) {
  const figure = $(id);
  const points = charts.get(id) ?? [];
  charts.set(id, points);
  points.push(value);
  if (points.length > SECONDS) points.shift();
  const most = top || Math.max(...points) * 1.1 || 1;
  const first = SECONDS - points.length;
  const line = points.map((point, index) => `${((first + index) * 120) / (SECONDS - 1)},${31 - (point / most) * 30}`);
  figure.querySelector("polyline").setAttribute("points", line.join(" "));
  write(figure.querySelector("strong"), format(value));
}
