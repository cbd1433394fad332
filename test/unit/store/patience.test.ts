import { describe, expect, it } from 'vitest';
import { Gate } from '../../../src/store/postgres/gate.ts';
import { Patience } from '../../../src/store/postgres/patience.ts';

const coded = (code: string): Error => Object.assign(new Error(`code ${code}`), { code });

describe('gate', () => {
  it('I9: lets so many through, so many wait, and refuses the next', async () => {
    const gate = new Gate(2, 3);
    let inside = 0;
    let most = 0;
    const releases: (() => void)[] = [];
    const work = async (): Promise<void> => {
      inside += 1;
      most = Math.max(most, inside);
      await new Promise<void>((resolve) => releases.push(resolve));
      inside -= 1;
    };
    const all = Array.from({ length: 5 }, () => gate.pass(work));
    await expect(gate.pass(work)).rejects.toMatchObject({ code: 'overloaded', retryable: true });
    for (let done = 0; done < all.length; done += 1) {
      await new Promise(setImmediate);
      releases[done]?.();
    }
    await Promise.all(all);
    expect(most).toBe(2);
    await expect(gate.pass(() => Promise.reject(new Error('mine')))).rejects.toThrow('mine');
    expect(await gate.pass(() => Promise.resolve('free again'))).toBe('free again');
  });
});

describe('patience', () => {
  const patience = (patienceMs: number, waits: (string | null)[] = []): Patience =>
    new Patience({
      patienceMs,
      onWaiting: (message) => waits.push(message),
      where: 'Postgres at h:1, database d',
      signal: new AbortController().signal,
    });

  it('tells once that many wait, and once that it is over', async () => {
    const waits: (string | null)[] = [];
    const waiting = patience(600_000, waits);
    const twice = (): Promise<number> =>
      waiting.run((tryNumber) =>
        tryNumber < 3 ? Promise.reject(coded('ECONNREFUSED')) : Promise.resolve(tryNumber),
      );
    expect(await Promise.all([twice(), twice(), twice()])).toEqual([3, 3, 3]);
    expect(waits).toEqual([
      'waiting for the database Postgres at h:1, database d: code ECONNREFUSED (for up to 10 min)',
      null,
    ]);
  });

  it('does not wait for what no time heals, and leaves faults of ours alone', async () => {
    const tries: number[] = [];
    const failing = (error: Error): Promise<unknown> =>
      patience(600_000).run((tryNumber) => {
        tries.push(tryNumber);
        return Promise.reject(error);
      });
    await expect(failing(coded('28P01'))).rejects.toMatchObject({
      code: 'store',
      message: expect.stringMatching(/Postgres at h:1.*code 28P01.*password in store.postgres.dsn/),
    });
    const bug = new TypeError('x is not a function');
    await expect(failing(bug)).rejects.toBe(bug);
    expect(tries).toEqual([1, 1]);
  });

  it.each(['57P01', '53100', '40P01', '57014', '08006', 'EPIPE'])('waits for %s', async (code) => {
    await expect(patience(0).run(() => Promise.reject(coded(code)))).rejects.toMatchObject({
      code: 'store',
      retryable: true,
      message: expect.stringContaining('away for too long'),
    });
  });
});
