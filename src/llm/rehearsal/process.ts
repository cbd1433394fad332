/**
 * The rehearsal backend as a process of its own, for tests and benchmarks:
 *
 *   node src/llm/rehearsal/process.ts '{"seed":1,"logFile":"/tmp/calls.jsonl"}'
 *
 * Prints one line `{"url":…,"port":…,"pid":…}` and serves until its standard input ends or it gets
 * SIGTERM or SIGINT, so it does not outlive the process that started it.
 */
import { messageOf } from '../../kernel/errors.ts';
import { type StartRehearsalOptions, startRehearsal } from './server.ts';

try {
  const options = JSON.parse(process.argv[2] ?? '{}') as StartRehearsalOptions;
  const rehearsal = await startRehearsal(options);
  const stop = (): void => {
    process.stdin.pause();
    void rehearsal.close();
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  process.stdin.once('end', stop).once('error', stop).resume();
  process.stdout.write(`${JSON.stringify({ url: rehearsal.url, port: rehearsal.port, pid: process.pid })}\n`);
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exitCode = 1;
}
