/** The other end of a remote ask, in a process of its own: an actor that answers what it is asked, and a bare NATS responder. */
import { connect } from 'nats';
import type { ReplyTo } from '../../src/actors/runtime/types.ts';
import { createActorSystem } from '../../src/actors/runtime/actor-system.ts';
import { silentLogger } from '../../src/kernel/logger.ts';
import { connectNats } from '../../src/transport/nats/connection.ts';

export interface Echo {
  readonly text: string;
  readonly replyTo: ReplyTo<string>;
}

const [url = '', token = '', namespace = ''] = process.argv.slice(2);

const nats = await connect({ servers: url.replace('nats://', ''), token });
nats.subscribe('bench.raw', { callback: (_error, message) => void message.respond(message.data) });
await nats.flush();

const link = await connectNats({ urls: [url], token, name: 'echo', namespace, logger: silentLogger });
const system = await createActorSystem({ node: 'echo', transport: link.transport, logger: silentLogger });
system.spawn<Echo>('echo', {
  kind: 'echo',
  start: (context) => ({ receive: ({ text, replyTo }) => context.reply(replyTo, text) }),
  mailbox: { capacity: 10_000 },
});
process.stdout.write('ready\n');

process.stdin.once('end', () => void end());
process.stdin.resume();

async function end(): Promise<void> {
  await system.stop();
  await link.close();
  await nats.close();
}
