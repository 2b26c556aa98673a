// Vapi's own client makes a call: the request on stdin goes to --base-url as it is. On stdout the version, the call that was
// made, the same call asked for by its id, and the error when there was one. Nothing is decided here.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { parseArgs } from "node:util";

// The packages are installed by a copy of package.json somewhere else: a script's own folder is where node looks otherwise.
const { values: options } = parseArgs({
  options: Object.fromEntries(["modules", "base-url", "token"].map((name) => [name, { type: "string" }])),
});
const require = createRequire(`${options.modules}/`);
const { VapiClient } = require("@vapi-ai/server-sdk");

const request = JSON.parse(readFileSync(0, "utf8"));
const { version } = JSON.parse(readFileSync(`${options.modules}/node_modules/@vapi-ai/server-sdk/package.json`, "utf8"));
const client = new VapiClient({ token: options.token, baseUrl: options["base-url"], maxRetries: 0 });
const told = { version };
try {
  told.made = await client.calls.create(request);
  told.asked = await client.calls.get({ id: told.made.id });
} catch (error) {
  told.error = { name: error.name, status: error.statusCode, message: error.message };
}
process.stdout.write(JSON.stringify(told));
