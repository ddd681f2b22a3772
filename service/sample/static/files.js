// The visitor's files: the list, deleting with undo, the quota. Uploads are in upload.js.

import { ask } from "./responses.js";
import { address, list } from "./listing.js";
import { $, say, showDate, size, text, write } from "./text.js";
import * as upload from "./upload.js";

const PAGE = 100;
const MOST = 1000; // of one listing, as the API allows
const UNDO = 8000; // milliseconds

const deleting = new Map(); // by name: what is to be deleted when its time is over
let next = null; // the token of the page after the last one that is shown
let turn = 0;

/** ``onStored()`` is called when a file was stored. */
export function start({ onStored }) {
  for (const time of $("file-list").querySelectorAll("time")) showDate(time, time.dateTime);
  next = new URL($("more").firstElementChild.href).searchParams.get("page_token");
  $("file-list").addEventListener("submit", (event) => {
    event.preventDefault();
    beginDelete(event.target.closest(".file"));
  });
  $("more").addEventListener("click", (event) => {
    event.preventDefault();
    showMore();
  });
  // What the visitor has deleted is to be gone, also if the page goes before the time is over.
  addEventListener("pagehide", () => deleting.forEach((entry) => entry.now({ keepalive: true })));
  upload.start({ onStored: () => Promise.all([refresh(), onStored()]) });
}

/** Show the list as it is now: as many files as are shown, or a page of them. */
export async function refresh() {
  const mine = ++turn;
  const wanted = Math.max(PAGE, $("file-list").childElementCount);
  const found = [];
  let listing;
  try {
    do {
      const limit = Math.min(MOST, wanted - found.length);
      listing = await list({ limit, ...(listing && { page_token: listing.next_page_token }) });
      found.push(...listing.files);
    } while (listing.next_page_token && found.length < wanted);
  } catch (refused) {
    if (mine === turn) trouble(refused.message || text("no-answer"));
    return;
  }
  if (mine !== turn) return; // a later look has been begun
  trouble("");
  const rows = new Map([...$("file-list").querySelectorAll(".file")].map((row) => [row.dataset.name, row]));
  $("file-list").replaceChildren(...found.map((file) => deleting.get(file.name)?.row ?? fill(rows.get(file.name), file)));
  showRest(listing);
}

async function showMore() {
  try {
    const listing = await list({ limit: PAGE, page_token: next });
    const known = new Set([...$("file-list").querySelectorAll(".file")].map((row) => row.dataset.name));
    const rows = listing.files.filter((file) => !known.has(file.name)).map((file) => fill(null, file));
    $("file-list").append(...rows);
    rows[0]?.querySelector("a").focus();
    showRest(listing);
  } catch (refused) {
    trouble(refused.message || text("no-answer"));
  }
}

function fill(known, file) {
  const row = known ?? $("file-row").content.firstElementChild.cloneNode(true);
  row.dataset.name = file.name;
  row.dataset.etag = file.etag;
  const link = row.querySelector(".name");
  link.href = address(file.name);
  write(link.firstElementChild, file.name);
  write(row.querySelector(".size"), size(file.size));
  showDate(row.querySelector("time"), file.updated);
  write(row.querySelector(".sum"), file.crc32c);
  row.querySelector("[name=name]").value = file.name;
  row.querySelector("[name=etag]").value = file.etag;
  row.querySelector("button").setAttribute("aria-label", text("delete", { name: file.name }));
  return row;
}

function showRest({ next_page_token: token, usage }) {
  next = token;
  $("more").hidden = !token;
  $("no-files").hidden = $("file-list").childElementCount > 0;
  $("quota").hidden = false;
  $("quota-bar").max = usage.max_bytes || 1;
  $("quota-bar").value = usage.bytes;
  const values = { bytes: size(usage.bytes), maxBytes: size(usage.max_bytes), files: usage.files, maxFiles: usage.max_files };
  write($("quota-text"), text("quota", values));
}

function beginDelete(fileRow) {
  const { name, etag } = fileRow.dataset;
  const row = $("undo-row").content.firstElementChild.cloneNode(true);
  const button = row.querySelector("button");
  row.querySelector(".name").textContent = name;
  button.setAttribute("aria-label", text("undo", { name }));
  const end = () => {
    clearTimeout(timer);
    return deleting.delete(name);
  };
  const now = async (options) => {
    if (!end()) return;
    const hadFocus = row.contains(document.activeElement);
    try {
      await ask("DELETE", address(name), { headers: { "If-Match": etag }, ...options });
      say(text("said-deleted", { name }));
      await refresh();
      row.remove();
      if (hadFocus) $("files").focus();
    } catch (refused) {
      row.replaceWith(fileRow);
      await refresh();
      if (refused.status !== 404) trouble(text("not-deleted", { name, why: refused.message || text("no-answer") }));
    }
  };
  let timer = setTimeout(now, UNDO);
  button.addEventListener("click", () => {
    if (!end()) return;
    row.replaceWith(fileRow);
    fileRow.querySelector("button").focus();
  });
  deleting.set(name, { row, now });
  fileRow.replaceWith(row);
  button.focus();
}

function trouble(message) {
  write($("files-trouble"), message);
}
