/** Owns the runs in memory, in the order of creation; who may change them is checked before. */
import type { Clock } from '../kernel/clock.ts';
import type { RunId } from '../kernel/ids.ts';
import type { ActiveRun, RunEndpoint, RunEndpoints, RunRecord, RunWanted } from '../ports/store.ts';
import { checkEndpointCount, endpointOfText, endpointsInOrder, endpointText } from './endpoint-rows.ts';
import { noSuchRun, runIdTaken } from './store-errors.ts';

interface Run {
  record: RunRecord;
  /** JSON text; null for a run of one process. */
  spec: string | null;
  wanted: RunWanted;
  /** JSON text by name. */
  readonly endpoints: Map<string, string>;
  endpointsVersion: number;
}

export class MemoryRuns {
  readonly #clock: Clock;
  readonly #runs = new Map<RunId, Run>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  create(run: Omit<RunRecord, 'status' | 'error' | 'createdAtMs' | 'updatedAtMs'>): RunRecord {
    if (this.#runs.has(run.id)) throw runIdTaken(run.id);
    const now = this.#clock.now();
    const record: RunRecord = { ...run, status: 'running', error: null, createdAtMs: now, updatedAtMs: now };
    this.#runs.set(run.id, {
      record,
      spec: null,
      wanted: 'run',
      endpoints: new Map(),
      endpointsVersion: 0,
    });
    return record;
  }

  get(id: RunId): RunRecord | null {
    return this.#runs.get(id)?.record ?? null;
  }

  newestFirst(): RunRecord[] {
    return [...this.#runs.values()].map(({ record }) => record).toReversed();
  }

  change(id: RunId, change: Partial<RunRecord>): void {
    const run = this.#existing(id);
    run.record = { ...run.record, ...change, updatedAtMs: this.#clock.now() };
  }

  saveSpec(id: RunId, spec: unknown): void {
    this.change(id, {});
    this.#existing(id).spec = JSON.stringify(spec);
  }

  spec(id: RunId): unknown {
    const text = this.#runs.get(id)?.spec ?? null;
    return text === null ? null : (JSON.parse(text) as unknown);
  }

  setWanted(id: RunId, wanted: RunWanted): void {
    this.change(id, {});
    this.#existing(id).wanted = wanted;
  }

  wanted(id: RunId): RunWanted {
    return this.#existing(id).wanted;
  }

  active(): ActiveRun[] {
    return [...this.#runs.values()]
      .flatMap(({ record: { id, datasetId, status }, spec, wanted }) =>
        spec !== null && (status === 'running' || status === 'paused')
          ? [{ id, datasetId, status, wanted }]
          : [],
      )
      .toSorted((a, b) => Buffer.compare(Buffer.from(a.id), Buffer.from(b.id)));
  }

  setEndpoint(id: RunId, endpoint: RunEndpoint): void {
    const run = this.#existing(id);
    const { name } = endpoint;
    const text = endpointText(endpoint);
    if (run.endpoints.get(name) === text) return;
    if (!run.endpoints.has(name)) checkEndpointCount(id, name, run.endpoints.size);
    run.endpoints.set(name, text);
    run.endpointsVersion += 1;
  }

  endpoints(id: RunId): RunEndpoints {
    const run = this.#runs.get(id);
    const endpoints = [...(run?.endpoints.values() ?? [])].map(endpointOfText);
    return { version: run?.endpointsVersion ?? 0, endpoints: endpointsInOrder(endpoints) };
  }

  endpointsVersion(id: RunId): number {
    return this.#runs.get(id)?.endpointsVersion ?? 0;
  }

  #existing(id: RunId): Run {
    const run = this.#runs.get(id);
    if (run === undefined) throw noSuchRun(id);
    return run;
  }
}
