// A visitor's files as the API tells of them.

import { ask } from "./responses.js";
import { date, size, text } from "./text.js";

/** Where a file is. */
export const address = (name) => `/api/files/${encodeURIComponent(name)}`;

/** One page of the listing: {files, next_page_token, usage}. Throws Refused. */
export async function list(query) {
  const { document: page } = await ask("GET", `/api/files?${new URLSearchParams(query)}`);
  return page;
}

/** What a file of the list is like, for people. */
export const describe = (file) =>
  text("theirs", { size: size(file.size), date: date(file.updated), sum: file.crc32c });
