/** The API server of a stand-in, with its engine (see serve.ts). */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Exchange } from '../../../src/llm/rehearsal/exchange.ts';
import { parseRehearsalOptions } from '../../../src/llm/rehearsal/options.ts';
import type { RehearsalStats } from '../../../src/llm/rehearsal/request-counts.ts';
import { RehearsalService } from '../../../src/llm/rehearsal/service.ts';
import type { StandInArguments } from './arguments.ts';
import type { Behaviour } from './behaviour.ts';
import { metricsText } from './metrics.ts';
import { startLines } from './start-lines.ts';

export class StandIn {
  readonly #args: StandInArguments;
  readonly #behaviour: Behaviour;
  readonly #service: RehearsalService;
  readonly #engine: ChildProcess;
  /** Requests that wait for a word of the engine. */
  readonly #waiting = new Map<number, () => void>();
  #engineLives = true;
  #requests = 0;
  #tokensAtHang: Pick<RehearsalStats, 'prompt_tokens' | 'cached_tokens' | 'completion_tokens'> | null = null;

  constructor(args: StandInArguments, behaviour: Behaviour) {
    this.#args = args;
    this.#behaviour = behaviour;
    const key = args.apiKey ?? process.env['VLLM_API_KEY'];
    this.#service = new RehearsalService(
      parseRehearsalOptions({
        model: behaviour.other_model ?? args.servedModelName,
        capacity: args.maxNumSeqs,
        ...(key === undefined ? {} : { api_key: key }),
        ...behaviour.rehearsal,
      }),
      undefined,
    );
    this.#engine = spawn(
      process.execPath,
      [join(import.meta.dirname, 'engine.ts'), behaviour.engine_title ?? ''],
      { detached: behaviour.engine_leaves_session, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
    );
    this.#engine.on('message', (message: { readonly id?: number }) => this.#word(message.id));
    this.#engine.on('exit', () => void this.#loseEngine());
    process.on('SIGTERM', () => this.#stop());
    process.on('SIGINT', () => this.#stop());
  }

  async start(): Promise<void> {
    for (let n = 1; n <= this.#behaviour.lines; n += 1) say(`INFO line ${n} of a server that says much`);
    const ready = once(this.#engine, 'message');
    await this.#sayStart();
    await ready;
    const server = createServer((request, response) => void this.#serve(request, response));
    server.keepAliveTimeout = 120_000;
    server.requestTimeout = 0;
    server.once('error', (error) =>
      end(1, `ERROR: [Errno 98] error while attempting to bind: ${error.message}`),
    );
    server.listen(this.#args.port, this.#args.host, () => {
      say(`INFO:     Started server process [${process.pid}]`);
      say('INFO:     Waiting for application startup.');
      say('INFO:     Application startup complete.');
      this.#planFaults();
    });
  }

  async #sayStart(): Promise<void> {
    const lines = startLines(this.#args.model, this.#args.port, process.pid);
    for (const [at, line] of lines.entries()) {
      say(line);
      if (this.#behaviour.start_ms > 0) await sleep(this.#behaviour.start_ms / lines.length);
      if (this.#behaviour.loading_status !== undefined && at === lines.length >> 1)
        this.#die(this.#behaviour.loading_status, 'torch.OutOfMemoryError: CUDA out of memory.');
    }
  }

  #planFaults(): void {
    const { die_after_ms: dieMs, hang_after_ms: hangMs } = this.#behaviour;
    if (dieMs !== undefined) setTimeout(() => this.#dieAsTold(), dieMs);
    if (hangMs !== undefined) setTimeout(() => this.#hang(), hangMs);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const exchange = new Exchange(request, response);
    switch (exchange.path) {
      case '/health':
        response.writeHead(this.#engineLives && !this.#behaviour.unhealthy ? 200 : 503).end();
        return;
      case '/metrics':
        if (this.#behaviour.metrics === 'none') response.writeHead(404).end();
        else exchange.text(this.#metrics(), 'text/plain; version=0.0.4; charset=utf-8');
        return;
      case '/stand-in':
        await this.#control(exchange);
        return;
      default:
        if (
          exchange.method === 'POST' &&
          exchange.path === '/chat/completions' &&
          !(await this.#ask(exchange))
        )
          return;
        await this.#service.serve(exchange);
    }
  }

  #metrics(): string {
    const { servedModelName } = this.#args;
    const stats = this.#service.stats();
    if (this.#behaviour.metrics === 'still' && this.#tokensAtHang !== null)
      return metricsText({ ...stats, ...this.#tokensAtHang, running: 0, waiting: 0 }, 0, servedModelName);
    return metricsText(stats, this.#waiting.size, servedModelName);
  }

  /** False when there is no answer to be given. */
  async #ask(exchange: Exchange): Promise<boolean> {
    this.#requests += 1;
    const id = this.#requests;
    const { die_after_requests: dieAt, hang_after_requests: hangAt } = this.#behaviour;
    if (id === dieAt) this.#dieAsTold();
    if (id === hangAt) this.#hang();
    if (!this.#engineLives) {
      exchange.json(
        '{"error":{"message":"EngineCore encountered an issue.","type":"InternalServerError"}}',
        {},
        500,
      );
      return false;
    }
    return await exchange.until((word) => {
      this.#waiting.set(id, word);
      this.#engine.send({ id });
      return () => this.#waiting.delete(id);
    });
  }

  #word(id: number | undefined): void {
    if (id === undefined) return;
    this.#waiting.get(id)?.();
    this.#waiting.delete(id);
  }

  async #control(exchange: Exchange): Promise<void> {
    if (exchange.method === 'POST') {
      const body = await exchange.readJson(10_000);
      const told = (body.ok ? body.value : {}) as { readonly hang?: boolean; readonly exit?: number };
      if (told.hang === true) this.#hang();
      if (told.exit !== undefined) this.#die(told.exit, 'told to end');
    }
    exchange.json(JSON.stringify({ pid: process.pid, engine: this.#engine.pid, requests: this.#requests }));
  }

  #hang(): void {
    const { prompt_tokens, cached_tokens, completion_tokens } = this.#service.stats();
    this.#tokensAtHang ??= { prompt_tokens, cached_tokens, completion_tokens };
    if (this.#engineLives) this.#engine.send({ hang: true });
  }

  #dieAsTold(): void {
    const { die_signal: signal, die_status: status } = this.#behaviour;
    say('ERROR: the stand-in was told to die');
    if (signal === undefined) this.#die(status, `Fatal: status ${status}`);
    else process.kill(process.pid, signal);
  }

  #die(status: number, why: string): never {
    this.#engine.kill('SIGKILL');
    end(status, why);
  }

  async #loseEngine(): Promise<void> {
    if (!this.#engineLives) return;
    this.#engineLives = false;
    say(
      'ERROR [core_client.py:600] Engine core proc EngineCore_DP0 died unexpectedly, shutting down client.',
    );
    const { engine_watch_ms: watchMs } = this.#behaviour;
    if (watchMs === null) return;
    await sleep(watchMs);
    end(1, 'vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.');
  }

  #stop(): void {
    if (this.#behaviour.ignore_sigterm) return;
    this.#engineLives = false;
    say('INFO:     Shutting down');
    this.#die(0, 'INFO:     Finished server process');
  }
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

export function end(status: number, why: string): never {
  process.stderr.write(`${why}\n`);
  process.exit(status);
}
