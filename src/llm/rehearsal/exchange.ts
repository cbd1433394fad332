import type { IncomingMessage, ServerResponse } from 'node:http';
import { type ApiError, errorBody, invalidRequest, tooLarge } from './api-error.ts';
import { parseJson } from './prompt-reading.ts';

/** One HTTP request and its response. Knows when the client has gone. */
export class Exchange {
  readonly method: string;
  /** Without query and without the optional `/v1`. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;

  constructor(request: IncomingMessage, response: ServerResponse) {
    this.#request = request;
    this.#response = response;
    this.method = request.method ?? 'GET';
    const [path = '/', query = ''] = (request.url ?? '/').split('?', 2);
    const short = path.startsWith('/v1/') ? path.slice(3) : path;
    this.path = short.length > 1 && short.endsWith('/') ? short.slice(0, -1) : short;
    this.query = new URLSearchParams(query);
  }

  /** True once nothing can be sent any more. */
  get gone(): boolean {
    return this.#response.destroyed || this.#request.socket.destroyed;
  }

  get bearerToken(): string | null {
    const header = this.#request.headers.authorization;
    return header?.startsWith('Bearer ') === true ? header.slice(7) : null;
  }

  /** The body as JSON, or why it cannot be taken. */
  async readJson(limitBytes: number): Promise<{ ok: true; value: unknown } | { ok: false; error: ApiError }> {
    const body = await this.#readBody(limitBytes);
    if (body === null) return { ok: false, error: tooLarge(limitBytes) };
    const value = parseJson(body.toString());
    if (value !== undefined) return { ok: true, value };
    return {
      ok: false,
      error: invalidRequest('We could not parse the JSON body of your request. Send a JSON object.', null),
    };
  }

  /** The body as a form with files, or why it cannot be taken. */
  async readForm(
    limitBytes: number,
  ): Promise<{ ok: true; value: FormData } | { ok: false; error: ApiError }> {
    const body = await this.#readBody(limitBytes);
    if (body === null) return { ok: false, error: tooLarge(limitBytes) };
    const contentType = this.#request.headers['content-type'] ?? '';
    try {
      const form = new Response(new Uint8Array(body), { headers: { 'content-type': contentType } });
      return { ok: true, value: await form.formData() };
    } catch {
      // Whatever is wrong with it, the client is told what was expected.
      return { ok: false, error: invalidRequest('Send the file as multipart/form-data.', 'file') };
    }
  }

  json(body: string, headers: Readonly<Record<string, string>> = {}, status = 200): void {
    this.#send(status, 'application/json', body, headers);
  }

  text(body: string, contentType: string): void {
    this.#send(200, contentType, body, {});
  }

  bytes(chunks: readonly Uint8Array[], contentType: string): void {
    const length = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    this.#response.writeHead(200, { 'content-type': contentType, 'content-length': length });
    for (const chunk of chunks) this.#response.write(chunk);
    this.#response.end();
  }

  fail(error: ApiError, headers: Readonly<Record<string, string>> = {}): void {
    // The rest of a body that was too long is not read, so the connection cannot be used again.
    const close: Record<string, string> = error.status === 413 ? { connection: 'close' } : {};
    this.json(errorBody(error), { ...headers, ...error.headers, ...close }, error.status);
  }

  startEvents(headers: Readonly<Record<string, string>>): void {
    this.#response.writeHead(200, {
      ...headers,
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
    });
  }

  write(text: string): void {
    this.#response.write(text);
  }

  end(text = ''): void {
    this.#response.end(text);
  }

  /** Ends the connection so that the client sees ECONNRESET. */
  reset(): void {
    this.#request.socket.resetAndDestroy();
  }

  /** Resolves to true after `ms`, to false as soon as the client has gone. */
  pause(ms: number): Promise<boolean> {
    return new Promise((resolve) => {
      if (this.gone) return resolve(false);
      const gone = (): void => {
        clearTimeout(timer);
        resolve(false);
      };
      const timer = setTimeout(() => {
        this.#response.off('close', gone);
        resolve(true);
      }, ms);
      this.#response.once('close', gone);
    });
  }

  /** Resolves to true when `start` calls back, to false (after `cancel`) as soon as the client has gone. */
  until(start: (callBack: () => void) => () => void): Promise<boolean> {
    return new Promise((resolve) => {
      if (this.gone) return resolve(false);
      const gone = (): void => {
        cancel();
        resolve(false);
      };
      const cancel = start(() => {
        this.#response.off('close', gone);
        resolve(true);
      });
      this.#response.once('close', gone);
    });
  }

  /** Null when the body is longer than `limitBytes`. Events cost half of what an async iterator costs. */
  #readBody(limitBytes: number): Promise<Buffer | null> {
    return new Promise((resolve, reject) => {
      const chunks: Buffer[] = [];
      let size = 0;
      this.#request.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size <= limitBytes) chunks.push(chunk);
        else {
          this.#request.pause();
          resolve(null);
        }
      });
      this.#request.once('end', () => resolve(wholeOf(chunks)));
      this.#request.once('error', reject);
      this.#request.once('close', () => reject(new Error('the client went away')));
    });
  }

  #send(status: number, contentType: string, body: string, headers: Readonly<Record<string, string>>): void {
    this.#response.writeHead(status, {
      ...headers,
      'content-type': contentType,
      'content-length': Buffer.byteLength(body),
    });
    this.#response.end(body);
  }
}

function wholeOf(chunks: readonly Buffer[]): Buffer {
  const [first] = chunks;
  return first === undefined || chunks.length > 1 ? Buffer.concat(chunks) : first;
}
