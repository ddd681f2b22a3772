// The page, made livelier than its forms are. Each panel is a module of its name.

import * as files from "./files.js";
import * as health from "./health.js";
import * as instance from "./instance.js";
import * as numbers from "./numbers.js";
import * as session from "./session.js";

session.start();
files.start({ onStored: session.refresh }); // the first file begins a session
numbers.start();
health.start(() => {
  session.refresh();
  files.refresh();
});
instance.start();
