import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { LineTail, phaseOf, ServerLog } from '../../../../src/llm/vllm/server-log.ts';
import { waitFor } from '../../../support/processes.ts';
import { startLines } from '../../../support/vllm-stand-in/start-lines.ts';

describe('phases of a start', () => {
  test.each([
    ['INFO 03-22 12:15:21 [weight_utils.py:257] Using model weights format', 'downloading the model'],
    ['model-00003-of-00004.safetensors:  45%|####      | 2.2G/4.9G [00:10<00:12]', 'downloading the model'],
    ['config.json: 1.81kB [00:00, 5.73MB/s]', 'downloading the model'],
    ['Fetching 4 files:  25%|##5       | 1/4', 'downloading the model'],
    [
      '(EngineCore_DP0 pid=9) INFO [gpu_model_runner.py:1] Starting to load model a/b...',
      'loading the weights',
    ],
    ['Loading safetensors checkpoint shards:  33% Completed | 1/3', 'loading the weights'],
    ['Loading pt checkpoint shards:   0% Completed | 0/1', 'loading the weights'],
    ['INFO Time spent downloading weights for a/b: 508.5 seconds', 'loading the weights'],
    ['INFO [backends.py:708] Dynamo bytecode transform time: 6.07 s', 'compiling'],
    ['INFO [monitor.py:34] torch.compile takes 19.69 s in total', 'compiling'],
    ['Capturing CUDA graphs (mixed prefill-decode, PIECEWISE): 100%|####| 51/51', 'capturing graphs'],
    ['Capturing CUDA graph shapes:  69%|####', 'capturing graphs'],
    [
      'INFO Capturing the model for CUDA graphs. This may lead to unexpected consequences',
      'capturing graphs',
    ],
    ['INFO [gpu_model_runner.py:3480] Graph capturing finished in 7 secs, took 0.95 GiB', 'warming up'],
    ['INFO:     Application startup complete.', 'warming up'],
    ['INFO 11-28 11:45:51 [api_server.py:1977] vLLM API server version 0.11.2', null],
    ['Traceback (most recent call last):', null],
    ['', null],
  ])('%s', (line, phase) => {
    expect(phaseOf(line)).toBe(phase);
  });

  test('a whole start runs through them in order', () => {
    const tail = new LineTail();
    const phases = startLines('org/model', 8000, 1).map((line) => {
      tail.add(Buffer.from(`${line}\n`));
      return tail.phase;
    });
    expect([...new Set(phases)]).toEqual([
      'starting',
      'loading the weights',
      'downloading the model',
      'compiling',
      'capturing graphs',
      'warming up',
    ]);
  });
});

describe('last lines', () => {
  const feed = (...pieces: readonly string[]): LineTail => {
    const tail = new LineTail();
    for (const piece of pieces) tail.add(Buffer.from(piece));
    return tail;
  };

  test('are whole whatever the pieces are, characters of several bytes too', () => {
    const bytes = Buffer.from('first ü\r\nsecond 🙂\nthird');
    const tail = new LineTail();
    for (const byte of bytes) tail.add(Buffer.from([byte]));
    expect(tail.last()).toEqual(['first ü', 'second 🙂', 'third']);
  });

  test('a progress bar is one line, in its last state, and tells the phase meanwhile', () => {
    const tail = feed(
      '\rLoading safetensors checkpoint shards: 0%',
      '\rLoading safetensors checkpoint shards: 50%',
    );
    expect(tail.phase).toBe('loading the weights');
    expect(tail.last()).toEqual(['Loading safetensors checkpoint shards: 50%']);
    tail.add(Buffer.from('\rLoading safetensors checkpoint shards: 100%\n'));
    expect(tail.last()).toEqual(['Loading safetensors checkpoint shards: 100%']);
  });

  test('lines about requests that were served are left out, those about others stay', () => {
    const served = '(APIServer pid=1) INFO:     127.0.0.1:50112 - "GET /health HTTP/1.1" 200 OK\n';
    const refused =
      '(APIServer pid=1) INFO:     127.0.0.1:50112 - "POST /v1/chat/completions HTTP/1.1" 400 Bad Request';
    expect(feed('before\n', served.repeat(100), `${refused}\n`).last()).toEqual(['before', refused]);
  });

  test('number and length are bounded; colours and other control characters are taken out', () => {
    expect(feed(Array.from({ length: 1_000 }, (_, n) => `line ${n}\n`).join('')).last()).toHaveLength(40);
    const long = feed('x'.repeat(100_000), `${'y'.repeat(100_000)}\n`).last();
    expect(long).toHaveLength(1);
    expect(long[0]?.length).toBeLessThanOrEqual(500);
    expect(feed('\u001b[31mERROR\u001b[0m a\u0007b\n\n  \n').last()).toEqual(['ERROR a b']);
  });
});

describe('log file of a server', () => {
  let folder: string;
  const opened: ServerLog[] = [];
  const open = (options: Partial<ConstructorParameters<typeof ServerLog>[0]> = {}): ServerLog => {
    const log = new ServerLog({
      path: join(folder, 'logs', 'vllm-0.log'),
      fromBefore: false,
      redact: (text) => text.replaceAll('secret', '***'),
      ...options,
    });
    opened.push(log);
    return log;
  };
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'dlgforge-log-'));
  });
  afterEach(() => {
    for (const log of opened.splice(0)) log.close();
    rmSync(folder, { recursive: true, force: true });
  });

  test('what was there before counts for a server that was found again, and for no other', () => {
    const path = join(folder, 'vllm.log');
    appendFileSync(path, 'Capturing CUDA graphs\nfrom before\n');
    const fresh = open({ path });
    expect(fresh.lastLines()).toEqual([]);
    expect(fresh.phase).toBe('starting');
    expect(open({ path, fromBefore: true }).lastLines()).toEqual(['Capturing CUDA graphs', 'from before']);
  });

  test('secrets are taken out of lines that are handed on', () => {
    const log = open();
    writeSync(log.descriptor, 'the secret word\n');
    expect(log.lastLines()).toEqual(['the *** word']);
    log.close();
    expect(log.lastLines()).toEqual(['the *** word']);
  });

  test('a full file is copied away and goes on at its start, and the newest lines stay at hand', async () => {
    const log = open({ bytesMax: 10_000 });
    const path = join(folder, 'logs', 'vllm-0.log');
    for (let n = 0; n < 3; n += 1) {
      writeSync(log.descriptor, `${'x'.repeat(99)}\n`.repeat(101));
      writeSync(log.descriptor, `round ${n}\n`);
      await waitFor(
        () => (statSync(path).size === 0 ? true : undefined),
        5_000,
        () => 'not rotated',
      );
    }
    writeSync(log.descriptor, 'after\n');
    expect(log.lastLines().slice(-2)).toEqual(['round 2', 'after']);
    expect(readFileSync(path, 'utf8')).toBe('after\n');
    expect(readFileSync(`${path}.1`, 'utf8')).toMatch(/round 2\n$/);
    expect(readFileSync(`${path}.3`, 'utf8')).toMatch(/round 0\n$/);
    writeSync(log.descriptor, `${'x'.repeat(99)}\n`.repeat(101));
    await waitFor(
      () => (statSync(path).size === 0 ? true : undefined),
      5_000,
      () => 'not rotated',
    );
    expect(existsSync(`${path}.4`)).toBe(false);
  });
});
