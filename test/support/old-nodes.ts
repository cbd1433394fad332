import { execFileSync } from 'node:child_process';

/** Nodes on the PATH that cannot run the program themselves. */
export function oldNodes(): string[] {
  const found = execFileSync('sh', ['-c', 'which -a node || true'], { encoding: 'utf8' })
    .split('\n')
    .filter(Boolean);
  return found.filter((node) => {
    const [major = 0, minor = 0] = execFileSync(node, ['-p', 'process.versions.node'], { encoding: 'utf8' })
      .split('.')
      .map(Number);
    return major < 22 || (major === 22 && minor < 18);
  });
}
