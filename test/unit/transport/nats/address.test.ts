import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { readAddresses } from '../../../../src/transport/nats/address.ts';

test('URLs as people write them', () => {
  expect(
    readAddresses(['nats://host', 'host:1234, tls://[::1]:7', 'nats://tok@h', 'nats://u:p%40ss@h']),
  ).toEqual([
    {
      host: 'host',
      server: 'host:4222',
      shown: 'nats://host:4222',
      isTls: false,
      token: null,
      user: null,
      password: null,
    },
    {
      host: 'host',
      server: 'host:1234',
      shown: 'nats://host:1234',
      isTls: false,
      token: null,
      user: null,
      password: null,
    },
    {
      host: '::1',
      server: '[::1]:7',
      shown: 'tls://[::1]:7',
      isTls: true,
      token: null,
      user: null,
      password: null,
    },
    {
      host: 'h',
      server: 'h:4222',
      shown: 'nats://h:4222',
      isTls: false,
      token: 'tok',
      user: null,
      password: null,
    },
    {
      host: 'h',
      server: 'h:4222',
      shown: 'nats://h:4222',
      isTls: false,
      token: null,
      user: 'u',
      password: 'p@ss',
    },
  ]);
});

test('a token of any characters comes through, and is not shown', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', minLength: 6 }), (token) => {
      const [address] = readAddresses([`nats://${encodeURIComponent(token)}@host:4222`]);
      expect(address?.token).toBe(token);
      expect(address?.shown).toBe('nats://host:4222');
    }),
  );
});

test('a percent sign that is no code stands for itself', () => {
  expect(readAddresses(['nats://100%@host'])[0]?.token).toBe('100%');
});
