// A probe for containers: asks the node's own /healthz. `--alive` only wants an answer, whatever it says: a node
// that waits for NATS or Postgres is not ready, but must not be restarted.
const alive = process.argv.includes('--alive');
const port = process.argv.find((text) => /^\d+$/.test(text)) ?? '9464';
try {
  const response = await fetch(`http://127.0.0.1:${port}/healthz`, { signal: AbortSignal.timeout(4_000) });
  const text = (await response.text()).trim();
  process.stdout.write(`${text}\n`);
  process.exitCode = alive || response.ok ? 0 : 1;
} catch (error) {
  process.stdout.write(`no answer: ${error instanceof Error ? error.message : error}\n`);
  process.exitCode = 1;
}
