/**
 * A stand-in for `vllm serve`: the rehearsal backend behind vLLM's arguments, addresses, metrics and log lines,
 * with an engine process of its own. It can be told to misbehave (behaviour.ts), at its start or while it runs:
 *
 *   POST /stand-in {"hang": true}          its engine hangs
 *   POST /stand-in {"exit": 3}             it ends with this status
 *   GET  /stand-in                         its pid and that of its engine
 */
import { readArguments } from './arguments.ts';
import { takeBehaviour } from './behaviour.ts';
import { end, StandIn } from './stand-in.ts';

const USAGE = 'usage: vllm serve [model_tag] [options]';

const args = readArguments(process.argv.slice(2));
if (args === null) end(2, `${USAGE}\nvllm: error: invalid choice`);
const gpus = process.env['CUDA_VISIBLE_DEVICES'] ?? '';
const behaviour = takeBehaviour(process.env, {
  port: args.port,
  gpus,
  pid: process.pid,
  args: process.argv.slice(2),
});
if (args.unknown.length > 0 && !behaviour.allow_unknown_args)
  end(2, `${USAGE}\nvllm: error: unrecognized arguments: ${args.unknown.join(' ')}`);
if (behaviour.refuse_status !== undefined)
  end(behaviour.refuse_status, 'RuntimeError: the stand-in was told not to start');

await new StandIn(args, behaviour).start();
