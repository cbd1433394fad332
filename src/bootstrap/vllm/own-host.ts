/** The address of this machine by which the other nodes of a cluster reach it (H9). */
import { createSocket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import { lookup } from 'node:dns/promises';
import { readAddresses } from '../../transport/nats/address.ts';
import type { ClusterAddress } from '../cluster/find-cluster.ts';
import { isLoopbackHost } from '../cluster/ports.ts';

const LOOPBACK = '127.0.0.1';
const ANY_PORT = 4222;

/**
 * The one from which it reaches the cluster's NATS server: that way lead the others too. With a server on a
 * loopback address all nodes are on this machine.
 */
export async function ownHostOf({ natsUrls }: Pick<ClusterAddress, 'natsUrls'>): Promise<string> {
  for (const { host } of readAddresses(natsUrls)) {
    if (isLoopbackHost(host)) continue;
    const address = await addressTowards(host).catch(() => null);
    if (address !== null) return address;
  }
  return LOOPBACK;
}

/** Connecting a datagram socket sends nothing; it only asks the routing table. */
async function addressTowards(host: string): Promise<string> {
  const { address } = await lookup(host);
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.connect(ANY_PORT, address, resolve);
    });
    return socket.address().address;
  } finally {
    socket.close();
  }
}
