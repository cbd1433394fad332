// Loaded with `--import`: writes the packages that a process has loaded to the file named by IMPORTS_FILE.
import { writeFileSync } from 'node:fs';
import { registerHooks } from 'node:module';

const packages = new Set();
registerHooks({
  resolve(specifier, context, next) {
    const resolved = next(specifier, context);
    const match = /\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(resolved.url);
    if (match !== null) packages.add(match[1]);
    return resolved;
  },
});
process.on('exit', () =>
  writeFileSync(process.env.IMPORTS_FILE, JSON.stringify([...packages].toSorted((a, b) => (a < b ? -1 : 1)))),
);
