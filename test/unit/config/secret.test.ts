import { inspect } from 'node:util';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Secret } from '../../../src/config/secret.ts';

const views = (secret: Secret): string =>
  [
    String(secret),
    secret.toString(),
    JSON.stringify({ secret }),
    inspect(secret),
    inspect({ deep: [secret] }, { depth: 9, showHidden: true }),
    Object.entries(secret).join(),
  ].join(' ');

test('nothing shows the value but reveal', () => {
  fc.assert(
    fc.property(fc.stringMatching(/^[a-zA-Z0-9]{8,30}$/), (value) => {
      expect(views(new Secret(value))).not.toContain(value);
      expect(new Secret(value).reveal()).toBe(value);
    }),
  );
});

describe('connections', () => {
  test.each([
    [
      'postgresql://me:pw@db.example:5432/data?sslmode=require',
      'postgresql://me:***@db.example:5432/data?sslmode=require',
    ],
    ['postgres://me:p@s:s/w@db/data', 'postgres://me:***@db/data'],
    ['postgres://me@db/data?password=pw&x=1', 'postgres://***@db/data?password=***&x=1'],
    ['postgres://me:,pw://@db/data', 'postgres://me:***@db/data'],
    ['postgresql:///data?host=/run/pg', 'postgresql:///data?host=/run/pg'],
    ['nats://token@n1:4222,nats://u:pw@n2:4222', 'nats://***@n1:4222,nats://u:***@n2:4222'],
    ["host=db user=me password='p w' dbname=data", 'host=db user=me dbname=data ***'],
    ['nonsense', '***'],
  ])('%s is shown as %s', (value, shown) => {
    expect(String(Secret.connection(value))).toBe(shown);
    expect(Secret.connection(value).reveal()).toBe(value);
  });

  test('whatever the password is made of, it is not shown', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[a-z@:/?#=&, ]{0,5}QZQZQ[a-z@:/?#=&, ]{0,5}$/), (password) => {
        for (const scheme of ['postgres', 'nats'])
          expect(views(Secret.connection(`${scheme}://me:${password}@db/data`))).not.toContain('QZQZQ');
      }),
    );
  });
});
