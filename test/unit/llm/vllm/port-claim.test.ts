import { once } from 'node:events';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { claimFreePort, claimPort, type PortClaim } from '../../../../src/llm/vllm/port-claim.ts';

const HOST = '127.0.0.1';
const open: { close(): void }[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

async function listen(host: string, port = 0): Promise<number> {
  const server: Server = createServer().listen(port, host);
  await once(server, 'listening');
  open.push(server);
  return (server.address() as AddressInfo).port;
}

function kept(claim: PortClaim | null): PortClaim {
  if (claim === null) throw new Error('claimed by somebody else');
  open.push({ close: () => claim.release() });
  return claim;
}

describe('port of a server', () => {
  test('those that ask at the same moment get different ones', async () => {
    const start = await listen(HOST);
    const claims = await Promise.all(Array.from({ length: 8 }, () => claimFreePort(HOST, start)));
    for (const claim of claims) kept(claim);
    const ports = claims.map(({ port }) => port);
    expect(new Set(ports).size).toBe(8);
    expect(Math.min(...ports)).toBeGreaterThan(start);
  });

  test('a claim ends when it is released, once', async () => {
    const claim = kept(await claimFreePort(HOST, await listen(HOST)));
    expect(await claimPort(claim.port)).toBeNull();
    claim.release();
    claim.release();
    expect(kept(await claimPort(claim.port)).port).toBe(claim.port);
  });

  test('a port at which somebody listens on the loopback is not taken for all addresses, nor the other way', async () => {
    const loopback = await listen(HOST);
    expect(kept(await claimFreePort('0.0.0.0', loopback)).port).toBeGreaterThan(loopback);
    const everywhere = await listen('0.0.0.0');
    expect(kept(await claimFreePort(HOST, everywhere)).port).toBeGreaterThan(everywhere);
  });

  test('ports that servers hold which do not listen yet are passed over', async () => {
    const start = await listen(HOST);
    const next = kept(await claimFreePort(HOST, start));
    next.release();
    expect(kept(await claimFreePort(HOST, start, new Set([next.port]))).port).toBeGreaterThan(next.port);
  });

  test('no free port, and an address that is not of this machine, are errors that name the key', async () => {
    const last = new Set([65_534, 65_535]);
    await expect(claimFreePort(HOST, 65_534, last)).rejects.toMatchObject({
      code: 'endpoint',
      message: expect.stringMatching(/65534 to 65535.*llm\.vllm\.port_start/),
    });
    await expect(claimFreePort('192.0.2.1', 18_000)).rejects.toMatchObject({
      code: 'endpoint',
      message: expect.stringContaining('llm.vllm.host'),
    });
  });
});
