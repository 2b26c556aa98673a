// Twilio's own library signs: the auth token and a list of URLs on stdin, as {"auth_token", "urls"}; on stdout the version and a
// signature for each URL. Nothing is decided here.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { parseArgs } from "node:util";

// The packages are installed by a copy of package.json somewhere else: a script's own folder is where node looks otherwise.
const { values: options } = parseArgs({ options: { modules: { type: "string" } } });
const require = createRequire(`${options.modules}/`);
const { getExpectedTwilioSignature } = require("twilio");

const { auth_token, urls } = JSON.parse(readFileSync(0, "utf8"));
const { version } = JSON.parse(readFileSync(`${options.modules}/node_modules/twilio/package.json`, "utf8"));
const signatures = urls.map((url) => getExpectedTwilioSignature(auth_token, url, {}));
process.stdout.write(JSON.stringify({ version, signatures }));
