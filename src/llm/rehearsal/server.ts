/**
 * The rehearsal backend: an OpenAI-compatible HTTP server that answers from the evidence it is given.
 *
 *   POST /v1/chat/completions    tools, tool_choice, response_format, streaming, usage
 *   POST /v1/embeddings          hashed n-grams, `float` and `base64`
 *   POST /v1/rerank              lexical scores
 *   POST /v1/files, GET and DELETE /v1/files/<id>, GET /v1/files/<id>/content
 *   POST and GET /v1/batches, GET /v1/batches/<id>, POST /v1/batches/<id>/cancel
 *   GET  /v1/models, /v1/models/<id>, /health, /metrics (vLLM's names)
 *   GET  /rehearsal/log          the latest log entries; `?after=<seq>` and `?limit=<n>`
 *   GET  /rehearsal/stats        counts; `?keys=0` leaves out the counts per key
 *   GET  /rehearsal/options      the knobs as they are
 *   POST /rehearsal/options      changes the knobs that the body names
 *   POST /rehearsal/reset        forgets the counts, the log entries and the prefix cache
 *
 * `/v1` may be left out. An answer is a function of (seed, model, messages, tools); the hash of
 * these is the request's key, sent back as `x-rehearsal-key`, and every answer carries
 * `system_fingerprint: "rehearsal"`.
 *
 * The log has one JSON object per line, one line at a request's arrival and one at its completion:
 *
 *   event              `arrival` or `completion`; `reset` (with `seq` and `at_ms` only) after a reset
 *   seq                the request's number, from 1; both of its lines have it
 *   at_ms              milliseconds since the epoch
 *   route              `chat`, `embeddings` or `rerank`
 *   key                the request's key; empty for requests that could not be read
 *   role               `user`, `assistant`, `judge` or `general`
 *   model              as asked for
 *   arrival            how often this key has arrived, this time included
 *   in_flight          chat requests between arrival and completion, right after this event
 *   outcome            completion only: what became of it (see `Outcome`)
 *   status             completion only: the HTTP status; 0 when none was sent
 *   batch              completion only: the batch that it was part of
 *   stalled, tool_calls, prompt_tokens, cached_tokens, completion_tokens
 *   service_ms         what latency, stall and token pace were drawn to take
 *   elapsed_ms         what it took, waiting for a place included
 *
 * A completion with status 200 is a paid answer.
 */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { DlgforgeError, messageOf } from '../../kernel/errors.ts';
import { Exchange } from './exchange.ts';
import { parseRehearsalOptions, type RehearsalOptions, type RehearsalOptionsInput } from './options.ts';
import type { RehearsalStats } from './request-counts.ts';
import type { LogEntry } from './request-entry.ts';
import { RehearsalService } from './service.ts';

export type StartRehearsalOptions = RehearsalOptionsInput & {
  /** @default '127.0.0.1' */
  readonly host?: string;
  /** 0 takes a free one. @default 0 */
  readonly port?: number;
  /** Appended to. */
  readonly logFile?: string;
};

export interface Rehearsal {
  /** `http://host:port`; OpenAI clients take it as their base URL with or without `/v1`. */
  readonly url: string;
  readonly port: number;
  readonly stats: () => RehearsalStats;
  /** The latest entries, oldest first; at most `log_limit`. */
  readonly log: () => readonly LogEntry[];
  readonly options: () => RehearsalOptions;
  /** Merges `changes` into the knobs. @throws DlgforgeError `config`, and nothing is changed. */
  readonly setOptions: (changes: RehearsalOptionsInput) => void;
  readonly reset: () => void;
  /** Ends every connection; resolves when the port is free again. Idempotent. */
  readonly close: () => Promise<void>;
}

/** @throws DlgforgeError `config` (knobs), `output` (log file) or `endpoint` (port). */
export async function startRehearsal(given: StartRehearsalOptions = {}): Promise<Rehearsal> {
  const { host = '127.0.0.1', port = 0, logFile, ...knobs } = given;
  const service = new RehearsalService(parseRehearsalOptions(knobs), logFile);
  const server = createServer((request, response) => {
    void service.serve(new Exchange(request, response));
  });
  // Longer than any client keeps a connection, so that none is closed under a request on its way.
  server.keepAliveTimeout = 120_000;
  server.requestTimeout = 0;
  server.maxConnections = 65_536;
  try {
    await listening(server, host, port);
  } catch (error) {
    service.close();
    throw error;
  }
  const bound = (server.address() as AddressInfo).port;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${bound}`,
    port: bound,
    stats: () => service.stats(),
    log: () => service.parts.log.entries(),
    options: () => service.options,
    setOptions: (changes) => service.setOptions(changes),
    reset: () => service.reset(),
    close: onlyOnce(() => closed(server, service)),
  };
}

function listening(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) =>
      reject(
        new DlgforgeError(
          'endpoint',
          `The rehearsal backend cannot listen on ${host}:${port} (${messageOf(error)}). Choose another port, or 0 for any.`,
          { cause: error },
        ),
      ),
    );
    server.listen(port, host, resolve);
  });
}

async function closed(server: Server, service: RehearsalService): Promise<void> {
  const done = new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
  server.closeAllConnections();
  await done;
  await service.idle();
  service.close();
}

function onlyOnce(run: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | null = null;
  return () => {
    running ??= run();
    return running;
  };
}
