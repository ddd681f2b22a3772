// The page's words, and numbers and dates as this reader writes them. All words stand in the HTML (template #texts).

const words = new Map(
  [...document.querySelectorAll("#texts")[0].content.querySelectorAll("[data-text]")].map((element) => [
    element.dataset.text,
    element.textContent,
  ]),
);
const language = navigator.languages?.length ? navigator.languages : undefined;
const dates = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });
const percents = new Intl.NumberFormat(language, { style: "percent" });
const decimals = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });

export const $ = (id) => document.getElementById(id);

/** A text by its name, with {placeholders} filled in. */
export function text(name, values = {}) {
  return words.get(name).replace(/\{(\w+)\}/g, (whole, key) => values[key] ?? whole);
}

/** Bytes for people, by powers of 1024, as the server writes them. */
export function size(bytes) {
  if (bytes < 1024) return `${bytes} ${bytes === 1 ? "Byte" : "Bytes"}`;
  const power = Math.min(5, Math.floor(Math.log2(bytes) / 10));
  return `${(bytes / 1024 ** power).toFixed(1)} ${"KMGTP"[power - 1]}iB`;
}

export const percent = (share) => percents.format(share);
export const decimal = (value) => decimals.format(value);
export const date = (value) => dates.format(new Date(value));

/** How long ago, in the two largest units that matter. */
export function duration(seconds) {
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, length]) => seconds >= length);
  if (first < 0) return "0 s";
  const parts = [];
  for (const [unit, length] of units.slice(first, first + 2)) {
    parts.push(`${Math.floor(seconds / length)} ${unit}`);
    seconds %= length;
  }
  return parts.join(" ");
}

/** Put a date into a <time>, or a text where there is none. */
export function showDate(element, value, otherwise) {
  if (value) {
    element.dateTime = new Date(value).toISOString();
    element.textContent = date(value);
  } else {
    element.removeAttribute("datetime");
    element.textContent = otherwise;
  }
}

/** Write a text where it has changed, so that a screen reader says only what is new. */
export function write(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

/** Say something to a screen reader. */
export function say(value) {
  $("said").textContent = value;
}
