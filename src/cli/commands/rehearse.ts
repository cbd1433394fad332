import { once } from 'node:events';
import { parseRehearsalOptions, startRehearsal } from '../../bootstrap/rehearsal.ts';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import { EXIT } from '../exit-codes.ts';
import { print, say } from '../terminal.ts';

interface Flags {
  readonly port: number;
  readonly options: string;
  readonly logFile?: string;
}

export async function rehearse(flags: Flags): Promise<number> {
  const options = parseRehearsalOptions(parsed(flags.options));
  const server = await startRehearsal({
    ...options,
    port: flags.port,
    ...(flags.logFile === undefined ? {} : { logFile: flags.logFile }),
  });
  print(`${server.url}/v1`);
  say(
    'The rehearsal backend is serving. Any OpenAI client can use this address, with any key. Ctrl-C ends it.',
  );
  await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
  await server.close();
  return EXIT.done;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new DlgforgeError('usage', `--options is not JSON: ${messageOf(error)}`);
  }
}
