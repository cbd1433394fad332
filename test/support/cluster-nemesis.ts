/**
 * Kills and freezes processes of a lab, one every few seconds, in an order that a seed decides. Every kind of
 * fault comes once before any comes twice. What was killed is started again, what was frozen goes on.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { shuffled, uniform } from '../../src/kernel/random.ts';
import type { Running } from './cli-project.ts';
import type { ClusterLab, LabAgent } from './cluster-lab.ts';
import { signal } from './cluster-processes.ts';

export const FAULTS = [
  'kill a worker',
  'freeze a worker',
  'kill an agent',
  'kill a node',
  'freeze a node',
  'kill the node that leads',
  'freeze the node that leads',
  'kill whoever follows',
  'kill NATS',
  'kill NATS and delete its queue',
  'freeze NATS',
  'kill Postgres',
  'freeze Postgres',
] as const;
export type Fault = (typeof FAULTS)[number];

export interface NemesisOptions {
  readonly lab: ClusterLab;
  readonly seed: string;
  readonly everyMs: number;
  /** The process that follows the run here. */
  readonly follower: () => Running;
  /** Starts another one. */
  readonly followAgain: () => void;
  readonly say: (text: string) => void;
}

export interface Nemesis {
  /** No further fault; resolves when everything is up again. */
  stop(): Promise<void>;
  readonly done: readonly Fault[];
  /** Of processes that hold calls. */
  readonly disruptions: number;
}

const FREEZE_MIN_MS = 2_000;
const FREEZE_MAX_MS = 8_000;
const DOWN_MAX_MS = 3_000;

export function startNemesis({ lab, seed, everyMs, follower, followAgain, say }: NemesisOptions): Nemesis {
  const done: Fault[] = [];
  const repairs: Promise<void>[] = [];
  const over = new AbortController();
  let disruptions = 0;
  const draw = (what: string): number => uniform(['nemesis', seed, done.length, what]);
  const between = (min: number, max: number): number => min + draw('time') * (max - min);
  const pick = <T>(what: string, from: readonly T[]): T | undefined =>
    from[Math.floor(draw(what) * from.length)];

  /** What was broken is mended later, whatever comes in between. */
  const later = (afterMs: number, mend: () => void | Promise<void>): Promise<void> => {
    const repair = sleep(afterMs).then(mend);
    repairs.push(repair);
    return repair;
  };
  /** Each server is hit again only when it is up. */
  let natsUp: Promise<void> = Promise.resolve();
  let postgresUp: Promise<void> = Promise.resolve();
  const replace = ({ workerCount }: LabAgent): void =>
    void later(1_000, async () => void (await lab.startAgent({ workers: workerCount })));

  const killAgent = async (agent: LabAgent, kill: () => Promise<void>): Promise<void> => {
    disruptions += 1;
    await kill();
    replace(agent);
  };
  const freezeNode = (agent: LabAgent): void => {
    disruptions += 1;
    agent.freeze();
    void later(between(FREEZE_MIN_MS, FREEZE_MAX_MS), () => agent.thaw());
  };
  const hitWorker = (name: 'SIGKILL' | 'SIGSTOP'): void => {
    const pid = pick(
      'worker',
      lab.agents().flatMap((agent) => agent.workers()),
    );
    if (pid === undefined || !signal(pid, name)) return;
    disruptions += 1;
    if (name === 'SIGSTOP')
      void later(between(FREEZE_MIN_MS, FREEZE_MAX_MS), () => void signal(pid, 'SIGCONT'));
  };
  const killNats = async (withQueue: boolean): Promise<void> => {
    await natsUp;
    await lab.nats.kill();
    if (withQueue) await lab.deleteQueue();
    natsUp = later(between(500, DOWN_MAX_MS), () => lab.nats.start());
  };
  const killPostgres = async (): Promise<void> => {
    await postgresUp;
    await lab.postgres.kill();
    postgresUp = later(between(500, DOWN_MAX_MS), () => lab.postgres.start());
  };
  const someAgent = (): LabAgent => {
    const agent = pick('agent', lab.agents());
    if (agent === undefined) throw new Error('no agent is left to break');
    return agent;
  };
  const leader = async (): Promise<LabAgent> => (await lab.leader().catch(() => null)) ?? someAgent();

  const strike = async (fault: Fault): Promise<void> => {
    switch (fault) {
      case 'kill a worker':
        return hitWorker('SIGKILL');
      case 'freeze a worker':
        return hitWorker('SIGSTOP');
      case 'kill an agent': {
        const agent = someAgent();
        return killAgent(agent, () => agent.kill());
      }
      case 'kill a node': {
        const agent = someAgent();
        return killAgent(agent, () => agent.killNode());
      }
      case 'kill the node that leads': {
        const agent = await leader();
        return killAgent(agent, () => agent.killNode());
      }
      case 'freeze a node':
        return freezeNode(someAgent());
      case 'freeze the node that leads':
        return freezeNode(await leader());
      case 'kill whoever follows':
        follower().child.kill('SIGKILL');
        return void later(500, followAgain);
      case 'kill NATS':
        return killNats(false);
      case 'kill NATS and delete its queue':
        return killNats(true);
      case 'freeze NATS': {
        await natsUp;
        const { pid } = lab.nats;
        signal(pid, 'SIGSTOP');
        natsUp = later(between(500, FREEZE_MAX_MS / 2), () => void signal(pid, 'SIGCONT'));
        return;
      }
      case 'kill Postgres':
        return killPostgres();
      case 'freeze Postgres':
        await postgresUp;
        lab.postgres.freeze();
        postgresUp = later(between(500, FREEZE_MAX_MS / 2), () => lab.postgres.thaw());
        return;
    }
  };

  const work = (async () => {
    const startedAtMs = Date.now();
    while (!over.signal.aborted) {
      const round = shuffled(['nemesis', seed, Math.floor(done.length / FAULTS.length)], FAULTS);
      const fault = round[done.length % FAULTS.length] as Fault;
      await sleep(everyMs, undefined, { signal: over.signal }).catch(() => undefined);
      if (over.signal.aborted) return;
      say(`${((Date.now() - startedAtMs) / 1000).toFixed(1)} s: ${fault}`);
      await strike(fault);
      done.push(fault);
    }
  })();
  return {
    done,
    get disruptions() {
      return disruptions;
    },
    async stop() {
      over.abort();
      await work;
      await Promise.all(repairs);
    },
  };
}
