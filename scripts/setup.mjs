// Makes node_modules match package-lock.json, and only when it does not. Runs on any Node from 18 on,
// because it comes before the bundled one is there.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { ensureTestPrograms } from './test-programs.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const stampFile = `${root}node_modules/.dlgforge-setup`;
const wanted = createHash('sha256')
  .update(readFileSync(`${root}package-lock.json`))
  .update(process.platform + process.arch)
  .digest('hex');

const isCurrent = () => existsSync(stampFile) && readFileSync(stampFile, 'utf8') === wanted;

if (!isCurrent()) {
  process.stderr.write('Installing the packages of package-lock.json (about half a minute) …\n');
  const npm = process.env.npm_execpath
    ? [process.execPath, [process.env.npm_execpath, 'ci']]
    : ['npm', ['ci']];
  const result = spawnSync(npm[0], npm[1], { cwd: root, stdio: ['ignore', 2, 2] });
  if (result.status !== 0) {
    process.stderr.write(
      'npm ci failed. Check the connection to the package registry (npm ping), then run the same command again.\n',
    );
    process.exit(result.status ?? 1);
  }
  writeFileSync(stampFile, wanted);
}

const bundled = spawnSync(`${root}node_modules/.bin/node`, ['--version'], { encoding: 'utf8' });
if (bundled.status !== 0) {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 22 || (major === 22 && minor < 18)) {
    process.stderr.write(
      `This is Node ${process.versions.node} and the bundled Node is missing, most likely because install scripts ` +
        'were switched off. Run `npm rebuild node`, or install Node 22.18 or newer.\n',
    );
    process.exit(1);
  }
}

// The quick start needs no cluster.
if (process.env.npm_lifecycle_event !== 'quickstart') ensureTestPrograms();
