/**
 * A process that starts servers, or takes up kept ones, as a node does: `node vllm-starter.ts <state folder> <orders as JSON>`. Prints
 * a line per server when it is there, when it has started and when it has ended; then lives until its input ends. It does not stop what it has started.
 */
import { silentLogger } from '../../src/kernel/logger.ts';
import { vllmProcesses } from '../../src/llm/vllm/server-processes.ts';
import type { ServerOrder } from '../../src/ports/server-process.ts';

const [stateDir = '', orders = '[]'] = process.argv.slice(2);
const processes = vllmProcesses({ stateDir, logger: silentLogger, environment: process.env });
await Promise.all(
  (JSON.parse(orders) as readonly ServerOrder[]).map(async (order) => {
    const server = (await processes.findKept(order)) ?? (await processes.start(order));
    process.stdout.write(`${JSON.stringify({ name: server.name, pid: server.pid, port: server.port })}\n`);
    const timer = setInterval(() => {
      if (server.phase() !== 'started') return;
      clearInterval(timer);
      process.stdout.write(`${JSON.stringify({ name: server.name, phase: 'started' })}\n`);
    }, 20);
    void server.ended.then((exit) =>
      process.stdout.write(`${JSON.stringify({ name: server.name, exit })}\n`),
    );
  }),
);
process.stdin.resume().once('end', () => process.exit(0));
