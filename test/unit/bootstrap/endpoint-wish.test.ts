/** What may be asked of the endpoints of a run. */
import { describe, expect, it } from 'vitest';
import { rolesLeftWaiting, rowOfWish, rowToChange } from '../../../src/bootstrap/endpoint-wish.ts';
import { type Config, configSchema } from '../../../src/config/schema.ts';
import { changeOf } from '../../support/endpoint-plans.ts';

const config: Config = configSchema.parse({ llm: { backend: 'vllm_attach' }, judge: { enabled: false } });
const AT = 'http://gpu-2:8000/v1';
const usage = (message: string) =>
  expect.objectContaining({ code: 'usage', message: expect.stringContaining(message) });
const refusalOf = (work: () => unknown): unknown => {
  try {
    return work();
  } catch (error) {
    return error;
  }
};

describe('an endpoint that is to be added', () => {
  it('has the settings of a configured one where nothing is said', () => {
    expect(rowOfWish({ url: `${AT}/` }, [], config)).toEqual({
      name: AT,
      baseUrl: AT,
      model: null,
      keyVariable: null,
      weight: 1,
      maxInFlight: 64,
      roles: [],
      timeoutMs: null,
      source: 'added',
      wanted: 'use',
    });
  });

  it('has what is said', () => {
    const wish = {
      url: AT,
      name: 'two',
      model: 'm2',
      weight: 0.5,
      maxInFlight: 7,
      roles: 'assistant, user',
      apiKeyEnv: 'MY_KEY',
      timeoutS: 1.5,
    };
    expect(rowOfWish(wish, [], config)).toEqual({
      name: 'two',
      baseUrl: AT,
      model: 'm2',
      keyVariable: 'MY_KEY',
      weight: 0.5,
      maxInFlight: 7,
      roles: ['user', 'assistant'],
      timeoutMs: 1_500,
      source: 'added',
      wanted: 'use',
    });
  });

  it.each([
    ['http://me:hunter2@gpu/v1', 'may hold no user, password or query'],
    ['http://gpu/v1?api_key=hunter2', 'may hold no user, password or query'],
  ])('I8: %s is refused without being repeated', (url, message) => {
    const refusal = refusalOf(() => rowOfWish({ url }, [], config));
    expect(refusal).toEqual(usage(message));
    expect(String(refusal)).not.toContain('hunter2');
  });

  it.each([
    [{ apiKeyEnv: 'sk-not-a-name' }, 'the name of an environment variable, never the key itself'],
    [{ weight: 0 }, '--weight must be a number above 0'],
    [{ weight: Number.NaN }, '--weight must be'],
    [{ maxInFlight: 1.5 }, '--max-in-flight must be a whole number'],
    [{ timeoutS: -1 }, '--timeout must be'],
    [{ roles: 'user,teacher' }, 'teacher is none of user, assistant, judge'],
    [{ roles: 'judge' }, 'the run has no judge; it has user, assistant'],
    [{ name: 'two\nlines' }, '--name may have 200 characters'],
    [{ name: 'x'.repeat(201) }, '--name may have 200 characters'],
  ])('%j is refused', (change, message) => {
    expect(refusalOf(() => rowOfWish({ url: AT, ...change }, [], config))).toEqual(usage(message));
  });

  it('I7: is not one that is there already, under another name', () => {
    const known = [changeOf('one', { baseUrl: AT, source: 'configured' })];
    const add = () => rowOfWish({ url: AT, name: 'again' }, known, config);
    expect(refusalOf(add)).toEqual(usage(`${AT} is the endpoint one already`));
    const gone = [changeOf('one', { baseUrl: AT, wanted: 'remove' })];
    expect(rowOfWish({ url: AT, name: 'again' }, gone, config)).toMatchObject({ name: 'again' });
    const other = [changeOf('one', { baseUrl: AT, model: 'm1' })];
    expect(rowOfWish({ url: AT, name: 'again', model: 'm2' }, other, config)).toMatchObject({ model: 'm2' });
  });

  it('I7: does not move under its name while it is in use, and never to another model', () => {
    const known = [changeOf('one', { baseUrl: AT })];
    const moved = (url: string, model?: string) =>
      refusalOf(() =>
        rowOfWish({ url, name: 'one', ...(model === undefined ? {} : { model }) }, known, config),
      );
    expect(moved('http://gpu-3:8000/v1')).toEqual(
      usage('one is in use at http://gpu-2:8000/v1: remove it first'),
    );
    expect(moved(AT, 'm2')).toEqual(usage('give an endpoint with another model another --name'));
    const removed = [changeOf('one', { baseUrl: AT, wanted: 'remove' })];
    expect(rowOfWish({ url: 'http://gpu-3:8000/v1', name: 'one' }, removed, config)).toMatchObject({
      baseUrl: 'http://gpu-3:8000/v1',
    });
  });

  it.each(['drain', 'remove'] as const)('comes back from %s by its name or its address', (wanted) => {
    const configured = changeOf('one', { baseUrl: AT, source: 'configured', weight: 3, wanted });
    const back = { ...configured, wanted: 'use' };
    expect(rowOfWish({ url: AT }, [configured], config)).toEqual(back);
    expect(rowOfWish({ url: AT, name: 'one' }, [configured], config)).toEqual(back);
    const elsewhere = () => rowOfWish({ url: 'http://gpu-3/v1', name: 'one' }, [configured], config);
    expect(refusalOf(elsewhere)).toEqual(usage('one is an endpoint of the configuration'));
    expect(rowOfWish({ url: AT }, [changeOf('added', { baseUrl: AT, wanted })], config)).toMatchObject({
      name: 'added',
      wanted: 'use',
    });
  });
});

describe('an endpoint that is to be drained or removed', () => {
  it('is known by its name', () => {
    const known = [changeOf('one'), changeOf('gone', { wanted: 'remove' })];
    expect(rowToChange('one', 'drain', known)).toEqual(changeOf('one', { wanted: 'drain' }));
    expect(refusalOf(() => rowToChange('two', 'drain', known))).toEqual(
      usage('There is no endpoint two. The run has: one.'),
    );
    expect(refusalOf(() => rowToChange('two', 'drain', []))).toEqual(usage('until it has begun'));
  });

  it('is known by its address, where that is clear', () => {
    const one = changeOf('one', { baseUrl: AT });
    expect(rowToChange(`${AT}/`, 'remove', [one])).toEqual({ ...one, wanted: 'remove' });
    const two = changeOf('two', { baseUrl: AT, model: 'm2' });
    expect(refusalOf(() => rowToChange(AT, 'remove', [one, two]))).toEqual(usage('The run has: one, two.'));
  });

  it('is not a server of the run itself, which looks after it', () => {
    const known = [changeOf('managed-vllm-0', { source: 'managed' })];
    const refused = usage('managed-vllm-0 is a server that the run starts and stops itself');
    expect(refusalOf(() => rowToChange('managed-vllm-0', 'remove', known))).toEqual(refused);
    expect(refusalOf(() => rowOfWish({ url: AT, name: 'managed-vllm-0' }, known, config))).toEqual(refused);
  });

  it('leaves roles waiting when it was their last', () => {
    expect(rolesLeftWaiting([changeOf('one')], config)).toEqual([]);
    expect(rolesLeftWaiting([changeOf('one', { roles: ['user'] })], config)).toEqual(['assistant']);
    expect(rolesLeftWaiting([changeOf('one', { wanted: 'drain' })], config)).toEqual(['user', 'assistant']);
  });
});
