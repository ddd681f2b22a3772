// Everything that this page asks of the service goes through here, and every response is noted: which instance sent it,
// how long it took, whether it was one.

const KEPT = 1000;
const TIMEOUT = 10_000; // milliseconds, for what is no file

/** The last responses, oldest first: {at, milliseconds, instance, failed} (failed: "" or why). */
export const responses = [];

const listeners = [];

/** Call ``listener(response)`` for each response from now on. */
export function onResponse(listener) {
  listeners.push(listener);
}

/** Note a response. ``headers(name)`` gives a header of it, or null; ``status`` is 0 where there was none. */
export function note(began, status, headers) {
  const response = {
    at: Date.now(),
    milliseconds: performance.now() - began,
    instance: decode(headers("X-Served-By")),
    failed: status === 0 ? "no response" : status >= 500 ? String(status) : "",
  };
  responses.push(response);
  if (responses.length > KEPT) responses.shift();
  for (const listener of listeners) listener(response);
  return response;
}

/** The service said no, or nothing. ``status`` is 0 where there was no response; the message is for people. */
export class Refused extends Error {
  constructor(status, problem, message) {
    super(message);
    this.status = status;
    this.kind = (problem?.type ?? "").split("/").pop();
  }
}

/** Ask, and give {status, document, instance}. Throws Refused. */
export async function ask(method, path, { headers = {}, document: body, keepalive = false } = {}) {
  const options = { method, headers: { Accept: "application/json", ...headers }, keepalive, cache: "no-store" };
  options.signal = AbortSignal.timeout(TIMEOUT);
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  const began = performance.now();
  let response, raw;
  try {
    response = await fetch(path, options);
    raw = await response.text();
  } catch {
    note(began, 0, () => null);
    throw new Refused(0, null, "");
  }
  const { instance } = note(began, response.status, (name) => response.headers.get(name));
  const parsed = parse(raw);
  if (!response.ok) throw refusal(response.status, parsed);
  return { status: response.status, document: parsed, instance };
}

/** The error that a response with this status and problem document (RFC 9457) stands for. */
export function refusal(status, problem) {
  return new Refused(status, problem, problem?.detail || problem?.title || String(status));
}

/** JSON, or null where it is none: a proxy's error page, for one. */
export function parse(raw) {
  try {
    return JSON.parse(raw);
  } catch {
    return null;
  }
}

function decode(name) {
  try {
    return decodeURIComponent(name ?? "");
  } catch {
    return name;
  }
}
