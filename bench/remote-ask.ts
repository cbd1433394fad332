/**
 * Questions to an actor in another process over NATS, against bare NATS requests to the same process, in one run:
 * one at a time and 64 in flight. Rounds of the two take turns, so that what else the machine does meets both.
 *
 *   npm run bench remote-ask          (5 rounds of 2 seconds each)
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { connect } from 'nats';
import { createActorSystem } from '../src/actors/runtime/actor-system.ts';
import { actorRef } from '../src/actors/runtime/types.ts';
import { silentLogger } from '../src/kernel/logger.ts';
import { connectNats } from '../src/transport/nats/connection.ts';
import { findNatsServer, natsInstallLine, startNatsServer } from '../src/transport/nats/local-server.ts';
import { median } from './support/bench-project.ts';
import type { Echo } from './support/echo-process.ts';

const ROUNDS = Number(process.argv[2] ?? 5);
const ROUND_MS = Number(process.argv[3] ?? 2_000);
const IN_FLIGHT = [1, 64];
const TEXT = 'x'.repeat(200);
const TOKEN = 'bench';

interface Round {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** As many in flight as asked for, each followed by the next, for one round. */
async function round(inFlight: number, roundMs: number, ask: () => Promise<unknown>): Promise<Round> {
  const latenciesMs: number[] = [];
  const startedMs = performance.now();
  const lane = async (): Promise<void> => {
    for (let beganMs = performance.now(); beganMs - startedMs < roundMs; beganMs = performance.now()) {
      await ask();
      latenciesMs.push(performance.now() - beganMs);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  const tookMs = performance.now() - startedMs;
  latenciesMs.sort((a, b) => a - b);
  const at = (share: number): number => latenciesMs[Math.floor(latenciesMs.length * share)] ?? Number.NaN;
  return { perSecond: (latenciesMs.length / tookMs) * 1_000, p50Ms: at(0.5), p99Ms: at(0.99) };
}

function middle(rounds: readonly Round[]): Round {
  return {
    perSecond: median(rounds.map(({ perSecond }) => perSecond)),
    p50Ms: median(rounds.map(({ p50Ms }) => p50Ms)),
    p99Ms: median(rounds.map(({ p99Ms }) => p99Ms)),
  };
}

function line(name: string, rounds: readonly Round[]): string {
  const { perSecond, p50Ms, p99Ms } = middle(rounds);
  const all = rounds.map((one) => Math.round(one.perSecond)).join(', ');
  return `${name}: ${Math.round(perSecond)}/s, p50 ${p50Ms.toFixed(3)} ms, p99 ${p99Ms.toFixed(3)} ms (rounds: ${all})\n`;
}

const program = await findNatsServer({ path: process.env['PATH'] });
if (program === null) throw new Error(`nats-server is needed: ${await natsInstallLine()}`);
const folder = await mkdtemp(join(tmpdir(), 'dlgforge-bench-'));
const server = await startNatsServer({ program, folder, token: TOKEN, logFile: join(folder, 'log') });
const other = spawn(
  process.execPath,
  [join(import.meta.dirname, 'support/echo-process.ts'), server.url, TOKEN, 'bench'],
  { stdio: ['pipe', 'pipe', 'inherit'] },
);
await once(createInterface({ input: other.stdout }), 'line');

const nats = await connect({ servers: server.url.replace('nats://', ''), token: TOKEN });
const link = await connectNats({
  urls: [server.url],
  token: TOKEN,
  name: 'asker',
  namespace: 'bench',
  logger: silentLogger,
});
const system = await createActorSystem({ node: 'asker', transport: link.transport, logger: silentLogger });
const echo = actorRef<Echo>('echo', 'echo');
const raw = (): Promise<unknown> => nats.request('bench.raw', TEXT);
const ours = (): Promise<unknown> => system.ask<Echo, string>(echo, (replyTo) => ({ text: TEXT, replyTo }));

for (const inFlight of IN_FLIGHT) {
  const rounds = { raw: [] as Round[], ours: [] as Round[] };
  await round(inFlight, ROUND_MS, raw);
  await round(inFlight, ROUND_MS, ours);
  for (let count = 0; count < ROUNDS; count += 1) {
    rounds.raw.push(await round(inFlight, ROUND_MS, raw));
    rounds.ours.push(await round(inFlight, ROUND_MS, ours));
  }
  const ratio = middle(rounds.ours).perSecond / middle(rounds.raw).perSecond;
  const goal = inFlight === 1 ? 'ratio ≥ 0.8, p99 ≤ 1.2 ms' : '≥ 60,000/s';
  process.stdout.write(`${inFlight} in flight (goal: ${goal})\n`);
  process.stdout.write(`  ${line('bare request', rounds.raw)}  ${line('remote ask', rounds.ours)}`);
  process.stdout.write(`  ratio ${ratio.toFixed(2)}\n`);
}

await system.stop();
await link.close();
await nats.close();
other.stdin.end();
await once(other, 'exit');
await server.stop();
await rm(folder, { recursive: true, force: true });
