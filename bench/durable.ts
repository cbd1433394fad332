/**
 * What durability costs: journalled events a second, each on disk before it is used, and recoveries.
 *
 *   npm run bench -- durable [event bytes] [rounds]
 *
 * On the embedded server, with fsync on. The disk and the other load of the machine decide about these figures
 * as much as the program does, so a bare loop of write and fdatasync stands beside, and the load.
 */
import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { persistenceId } from '../src/kernel/ids.ts';
import { silentLogger } from '../src/kernel/logger.ts';
import type { Journal } from '../src/ports/store.ts';
import { openStore } from '../src/store/open-store.ts';

const EVENT_BYTES = Number(process.argv[2] ?? 256);
const ROUNDS = Number(process.argv[3] ?? 5);
const ROUND_MS = 2_000;
const ACTORS = [64, 128, 256, 512];
const RECOVERED_EVENTS = 10_000;
/** What follows the snapshot of a long journal. */
const TAIL_EVENTS = 50;

const event = (seq: number): object => ({
  type: 'Measured',
  seq,
  text: 'x'.repeat(Math.max(0, EVENT_BYTES - 45)),
});

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

let ids = 0;
const freshId = (): ReturnType<typeof persistenceId> => {
  ids += 1;
  return persistenceId(`bench/${ids}`);
};

/** Each actor waits for each of its events before the next; events a second over all of them. */
async function appending(journal: Journal, actors: number): Promise<number> {
  const held = await Promise.all(
    Array.from({ length: actors }, async () => {
      const id = freshId();
      return { id, epoch: (await journal.recover(id)).epoch };
    }),
  );
  const beganMs = performance.now();
  const untilMs = beganMs + ROUND_MS;
  const written = await Promise.all(
    held.map(async ({ id, epoch }) => {
      let seq = 0;
      for (; performance.now() < untilMs; seq += 1) await journal.append(id, epoch, seq, [event(seq)]);
      return seq;
    }),
  );
  const seconds = (performance.now() - beganMs) / 1_000;
  for (const [i, { id }] of held.entries()) {
    const { lastSeq } = await journal.peek(id);
    if (lastSeq !== written[i]) throw new Error(`${id} has ${lastSeq} events of ${written[i]}`);
  }
  return written.reduce((sum, count) => sum + count, 0) / seconds;
}

async function rounds(measure: () => Promise<number>): Promise<readonly number[]> {
  await measure();
  const figures: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) figures.push(await measure());
  return figures;
}

async function longJournal(journal: Journal): Promise<ReturnType<typeof persistenceId>> {
  const id = freshId();
  const { epoch } = await journal.recover(id);
  for (let seq = 0; seq < RECOVERED_EVENTS; seq += 100) {
    await journal.append(
      id,
      epoch,
      seq,
      Array.from({ length: 100 }, (_, i) => event(seq + i)),
    );
  }
  return id;
}

async function recovery(journal: Journal, id: ReturnType<typeof persistenceId>): Promise<number> {
  const beganMs = performance.now();
  const { lastSeq } = await journal.recover(id);
  if (lastSeq !== RECOVERED_EVENTS) throw new Error(`recovered ${lastSeq} events`);
  return performance.now() - beganMs;
}

/** Writes to disk a second, of a loop that does nothing else. */
function bareWrites(folder: string): number {
  const file = openSync(join(folder, 'bare'), 'w');
  const page = Buffer.alloc(8_192, 1);
  const beganMs = performance.now();
  let count = 0;
  for (; performance.now() - beganMs < 500; count += 1) {
    writeSync(file, page, 0, page.length, (count % 512) * page.length);
    fdatasyncSync(file);
  }
  closeSync(file);
  return (count * 1_000) / (performance.now() - beganMs);
}

function report(what: string, figures: readonly number[], unit: string, goal: string): void {
  const all = figures.map((figure) => figure.toFixed(figure < 100 ? 1 : 0)).join(', ');
  const middle = median(figures);
  process.stdout.write(
    `${what.padEnd(46)} ${middle.toFixed(middle < 100 ? 1 : 0).padStart(8)} ${unit.padEnd(9)} ${goal.padEnd(11)} [${all}]\n`,
  );
}

const load = (): string =>
  loadavg()
    .map((value) => value.toFixed(1))
    .join(', ');

const folder = await mkdtemp(join(tmpdir(), 'dlgforge-durable-'));
try {
  process.stdout.write(`${cpus().length} cores, load ${load()}; events of ${EVENT_BYTES} bytes\n`);
  process.stdout.write(`bare write and fdatasync: ${bareWrites(folder).toFixed(0)} a second\n\n`);
  const store = await openStore({ stateDir: folder, logger: silentLogger });
  const { journal } = store;
  for (const actors of ACTORS) {
    const goal = '>= 12000';
    report(
      `${actors} actors, one event at a time each`,
      await rounds(() => appending(journal, actors)),
      'events/s',
      goal,
    );
  }
  report('1 actor, one event at a time', await rounds(() => appending(journal, 1)), 'events/s', '>= 1800');
  const id = await longJournal(journal);
  const events = RECOVERED_EVENTS.toLocaleString('en');
  report(`recovery of ${events} events`, await rounds(() => recovery(journal, id)), 'ms', '<= 300');
  const { epoch } = await journal.recover(id);
  await journal.saveSnapshot(id, epoch, RECOVERED_EVENTS - TAIL_EVENTS, { state: 'x'.repeat(20_000) });
  // The hold that saved it is gone with the next recovery; the snapshot stays.
  report(
    `the same with a snapshot, ${TAIL_EVENTS} events after it`,
    await rounds(() => recovery(journal, id)),
    'ms',
    '<= 25',
  );
  await store.close();
  process.stdout.write(`\nload ${load()}\n`);
} finally {
  await rm(folder, { recursive: true, force: true });
}
