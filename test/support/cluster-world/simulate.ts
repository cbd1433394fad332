/** One simulated run of a cluster, from a seed to a verdict. */
import { startGeneration } from '../../../src/bootstrap/generation.ts';
import type { LeaderParts } from '../../../src/bootstrap/leader.ts';
import { messageOf } from '../../../src/kernel/errors.ts';
import { silentLogger } from '../../../src/kernel/logger.ts';
import type { RunStatus, Store } from '../../../src/ports/store.ts';
import { decodeRunEvent, runEventsId } from '../../../src/protocol/run-events.ts';
import { MemoryStore } from '../../../src/store/memory-store.ts';
import { dialogueOf, INPUTS } from '../dialogue-context.ts';
import { memoryRetriever, seaPassages } from '../memory-retriever.ts';
import { SimulatedClock } from '../simulated-clock.ts';
import { DATASET, datasetOf, openRun, RUN } from '../world.ts';
import { Body } from './body.ts';
import { ClusterWorld, type Flaws } from './cluster-world.ts';
import { Dice } from './dice.ts';
import { FaultSchedule } from './fault-schedule.ts';
import { Faults } from './faults.ts';
import { ModelServer } from './model-server.ts';
import { Referee, type RefereeCounts } from './referee.ts';
import { Trace } from './trace.ts';

export interface SimulateOptions {
  readonly seed: number;
  readonly keepTrace?: boolean;
  readonly flaws?: Flaws;
}

export interface Verdict {
  readonly seed: number;
  /** Promises that were broken, the first one first; none is a pass. */
  readonly broken: readonly string[];
  /** Equal for equal seeds. */
  readonly digest: string;
  readonly simulatedMs: number;
  /** From when everything was well again to the end of the run. */
  readonly recoveryMs: number;
  readonly counts: RefereeCounts;
  readonly faults: ReadonlyMap<string, number>;
  readonly trace: readonly string[];
}

/** Conversations per language, of two. */
const SAMPLES = 4;
const SETTINGS = {
  turns: { min: 1, max: 3, distribution: 'uniform', mean: null },
  seed: 11,
} as const;
/**
 * A node that stands still is lost after five seconds, and its permits go to others: a call that takes longer
 * is then open beside them, because nobody can close it. So I7 holds for calls that take less than that.
 */
const LATENCY_MAX_MS = 4_500;
/** Agents and workers; more make a simulation slow. */
const PROCESSES_MAX = 7;
/** Of simulated time, after everything is well again. */
const RECOVERS_WITHIN_MS = 120_000;

const ON: ReadonlySet<RunStatus> = new Set(['running', 'paused']);

export const DIALOGUE = dialogueOf({ settings: SETTINGS });
export const PARTS: LeaderParts = {
  datasetId: DATASET,
  dialogue: DIALOGUE,
  totalSamples: SAMPLES,
  batchSize: 4,
  consecutiveDropsMax: 10,
  shutdownGraceMs: 5_000,
};

export async function simulate({ seed, keepTrace = false, flaws }: SimulateOptions): Promise<Verdict> {
  const dice = new Dice(`cluster ${seed}`);
  const expected = await undisturbed();
  const badTimeMs = dice.between(10_000, 30_000);
  const isCalm = dice.falls(0.15);
  const splits = !isCalm && dice.falls(0.25);
  const isSlow = dice.falls(0.3);
  const maxInFlight = isSlow ? dice.between(3, 6) : dice.between(1, 4);
  const world = new ClusterWorld({
    seed: `cluster ${seed}`,
    dialogue: DIALOGUE,
    parts: PARTS,
    maxInFlight,
    judgesOpenCalls: !splits,
    latencyMs: isSlow ? [dice.between(500, 2_500), LATENCY_MAX_MS] : [50, dice.between(500, 4_000)],
    troubleRate: dice.falls(0.5) ? 0 : 0.05,
    storeFaults: {
      lossRate: dice.falls(0.5) ? 0 : 0.01,
      // What is told to an actor makes it start again, and what it had in flight is lost.
      surfaceRate: isCalm || dice.falls(0.5) ? 0 : 0.2,
    },
    keepTrace,
    ...(flaws === undefined ? {} : { flaws }),
  });
  const faultDice = dice.apart('faults');
  const schedule = new FaultSchedule({
    world,
    dice: faultDice,
    faults: new Faults({ world, dice: faultDice, processesMax: PROCESSES_MAX, splits, isCalm }),
    quietMs: dice.between(500, 5_000),
    pauseMs: [100, dice.between(500, 6_000)],
    badTimeMs,
  });
  await world.submit();
  for (let nodes = dice.between(2, 3); nodes > 0; nodes -= 1) world.startWorker(world.startAgent());
  schedule.start();
  const { referee, trace } = world;
  const isOver = (): boolean => !ON.has(referee.status) || referee.violations.length > 0;
  try {
    await world.clock.runUntil(isOver, { limitMs: badTimeMs + RECOVERS_WITHIN_MS });
    if (referee.violations.length === 0) await expectWhole(world, expected);
    // With the database away every open conversation may have one answer that waits to be journalled.
    const atRisk = maxInFlight + PARTS.batchSize;
    const wastedMax = schedule.harshCount * atRisk + world.storeFaults.surfaced;
    if (referee.wasted > wastedMax)
      referee.broken(
        'waste',
        `${referee.wasted} answers are in no journal; at most ${wastedMax} could be lost`,
      );
  } catch (error) {
    referee.broken('liveness', messageOf(error));
  }
  const verdict: Verdict = {
    seed,
    broken: [...referee.violations],
    digest: trace.digest(),
    simulatedMs: trace.elapsedMs,
    counts: { ...referee.counts },
    faults: schedule.counts,
    recoveryMs: Math.max(0, trace.elapsedMs - badTimeMs),
    trace: [...trace.lines],
  };
  await world.close();
  return verdict;
}

/** The run is complete, with the dataset `expected`; else the referee hears of it. */
export async function expectWhole({ referee, truth }: ClusterWorld, expected: string): Promise<void> {
  const { status, error } = (await truth.getRun(RUN)) ?? { status: 'missing', error: null };
  if (status !== 'completed') referee.broken('liveness', `the run is ${status}: ${error}`);
  const rows = await datasetOf(truth);
  for (const languageIndex of [0, 1]) {
    const of = rows.filter((row) => row.languageIndex === languageIndex && row.status === 'committed');
    if (of.length !== SAMPLES) referee.broken('counts', `language ${languageIndex} has ${of.length}`);
  }
  if ((await bytesOf(truth)) !== expected)
    referee.broken('I5', 'the dataset is not the one of a single process');
  const events = (await truth.journal.read(runEventsId(RUN))).map(({ event }) => decodeRunEvent(event));
  const settled = events.flatMap((event) =>
    event.type === 'ConversationSettled' && 'commitSeq' in event ? [String(event.commitSeq)] : [],
  );
  const wanted = rows.map(({ commitSeq }) => String(commitSeq));
  if (settled.join() !== wanted.join())
    referee.broken('events', `they tell of commits ${settled.join()}; there are ${wanted.join()}`);
  if (events.at(-1)?.type !== 'RunEnded') referee.broken('events', `the last one is ${events.at(-1)?.type}`);
}

/** Positions in a journal depend on what was repeated; nothing else may. */
const bytesOf = async (store: Store): Promise<string> =>
  JSON.stringify(await datasetOf(store), (key, value: unknown) =>
    /answerSeqs|AnswerSeq/.test(key) ? null : value,
  );

let single: Promise<string> | null = null;

/** The dataset of one process that nothing happens to. */
export function undisturbed(): Promise<string> {
  single ??= runAlone();
  return single;
}

async function runAlone(): Promise<string> {
  const clock = new SimulatedClock(1_000_000);
  const memory = new MemoryStore(clock);
  const trace = new Trace(clock, false);
  const referee = new Referee(trace, 8);
  const store = referee.watch(memory, 'alone');
  await openRun(store);
  const holder = { host: 'alone', pid: 1, processKey: 'alone', command: 'run', sinceMs: 0 };
  const granted = await store.acquireLease(`dataset/${DATASET}`, holder, 1_000, () => false);
  if (granted.type !== 'granted') throw new Error('the dataset is held');
  const model = new ModelServer({
    clock,
    dice: new Dice('alone'),
    referee,
    maxInFlight: 8,
    latencyMs: [1, 1],
    troubleRate: 0,
  });
  let isOver = false;
  const generation = startGeneration({
    ...PARTS,
    store,
    runId: RUN,
    lease: granted.lease,
    inputs: INPUTS,
    port: model.portOf(new Body('alone', clock)),
    strategy: 'weighted_least_inflight',
    roleStrategies: {},
    retriever: memoryRetriever(seaPassages()),
    webSearch: null,
    project: () => Promise.resolve(),
    patienceMs: 60_000,
    clock,
    logger: silentLogger,
  });
  void generation.end.then(() => {
    isOver = true;
  });
  await clock.runUntil(() => isOver, { limitMs: 600_000 });
  await generation.close();
  if (referee.violations.length > 0)
    throw new Error(`a single process breaks ${referee.violations.join('; ')}`);
  return await bytesOf(memory);
}
