/** A process that starts servers, ends the kept ones, waits for the others, says how each ended, and has nothing else to do. */
import { silentLogger } from '../../src/kernel/logger.ts';
import { vllmProcesses } from '../../src/llm/vllm/server-processes.ts';
import type { ServerOrder } from '../../src/ports/server-process.ts';

const [stateDir = '', orders = '[]'] = process.argv.slice(2);
const processes = vllmProcesses({ stateDir, logger: silentLogger, environment: process.env });
for (const order of JSON.parse(orders) as readonly ServerOrder[]) {
  const server = await processes.start(order);
  process.stdout.write(`${order.name} ${(await (order.keep ? server.kill() : server.ended)).reason}\n`);
}
