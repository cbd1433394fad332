/**
 * As much of the Hugging Face Hub as its client uses to publish a folder: accounts, repositories, their list
 * of files, storage of large files in three ways, commits. Keeps what it was given, checks every digest and
 * size, and notes what a client must not do. Fails on demand.
 */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { shardFiles, xorbChunks } from './hub-xet.ts';

export interface HubCommit {
  readonly oid: string;
  readonly summary: string;
  readonly added: readonly string[];
  readonly deleted: readonly string[];
}

export interface HubRepo {
  readonly visibility: string | null;
  readonly sdk: string | null;
  files: ReadonlyMap<string, Buffer>;
  readonly commits: HubCommit[];
}

export interface HubFault {
  /** Of `METHOD /path`. */
  readonly at: RegExp;
  readonly times: number;
  /** `drop`: no answer. `lose`: done, but the answer is lost. `hold`: waits until `release`. */
  readonly how: 'drop' | 'lose' | 'hold' | HubAnswer;
}

export interface HubAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: object;
}

export interface HubServer extends AsyncDisposable {
  readonly url: string;
  /** By `datasets/owner/name`. */
  readonly repos: ReadonlyMap<string, HubRepo>;
  /** `METHOD /path` without the query. */
  readonly requests: readonly string[];
  /** What a client must not do; empty at the end of every test. */
  readonly problems: readonly string[];
  fail(fault: HubFault): void;
  /** Faults that have not happened yet. */
  readonly faultsLeft: number;
  /** Resolves when a request is being held. */
  readonly held: () => Promise<void>;
  release(): void;
  /** Makes a repository with these files, as somebody else would. */
  seed(repo: string, files: Readonly<Record<string, string>>): void;
}

export interface HubServerOptions {
  readonly token: string;
  readonly owner?: string;
  /** Files of this size are large ones. */
  readonly largeBytes?: number;
  readonly transfer?: 'basic' | 'multipart' | 'xet';
  /** May not create repositories. */
  readonly mayCreate?: boolean;
}

const PART_BYTES = 4_000;
const PAGE_SIZE = 3;
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
const gitOid = (bytes: Buffer): string =>
  createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');

export async function startHub(options: HubServerOptions): Promise<HubServer> {
  const hub = new Hub(options);
  const server = createServer((request, response) => {
    hub.answer(request, response).catch((error: unknown) => {
      hub.problems.push(String(error));
      if (!response.headersSent) response.writeHead(500);
      response.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  hub.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return Object.assign(hub, {
    async [Symbol.asyncDispose]() {
      hub.release();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  });
}

class Hub {
  url = '';
  readonly repos = new Map<string, HubRepo>();
  readonly requests: string[] = [];
  readonly problems: string[] = [];
  readonly #options: HubServerOptions;
  readonly #storage = new Map<string, Buffer>();
  readonly #parts = new Map<string, Buffer>();
  readonly #large = new Map<string, Set<string>>();
  readonly #xorbs = new Map<string, Buffer[]>();
  #faults: { readonly fault: HubFault; left: number }[] = [];
  #held = Promise.withResolvers<void>();
  #released = Promise.withResolvers<void>();

  constructor(options: HubServerOptions) {
    this.#options = options;
  }

  fail(fault: HubFault): void {
    this.#faults.push({ fault, left: fault.times });
  }

  get faultsLeft(): number {
    return this.#faults.reduce((sum, { left }) => sum + left, 0);
  }

  held = (): Promise<void> => this.#held.promise;

  release(): void {
    this.#released.resolve();
    this.#held = Promise.withResolvers();
    this.#released = Promise.withResolvers();
  }

  seed(name: string, files: Readonly<Record<string, string>>): void {
    const content = new Map(Object.entries(files).map(([path, text]) => [path, Buffer.from(text)]));
    this.repos.set(name, { visibility: 'public', sdk: null, files: content, commits: [] });
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', this.url);
    const what = `${request.method} ${url.pathname}`;
    this.requests.push(what);
    const body = await bodyOf(request);
    const fault = this.#faults.find(({ fault: { at }, left }) => left > 0 && at.test(what));
    if (fault !== undefined) fault.left -= 1;
    const how = fault?.fault.how;
    if (how === 'drop') return void request.socket.destroy();
    if (how === 'hold') {
      this.#held.resolve();
      await this.#released.promise;
    } else if (typeof how === 'object') return send(response, how);
    const answer = this.#route(what, url, body, request.headers.authorization ?? null);
    if (how === 'lose') return void request.socket.destroy();
    send(response, answer);
  }

  #route(what: string, url: URL, body: Buffer, authorization: string | null): HubAnswer {
    const path = url.pathname;
    if (path.startsWith('/storage/')) return this.#store(what, path, body, authorization);
    if (path.startsWith('/cas/')) return this.#cas(what, path, body, authorization);
    if (authorization !== `Bearer ${this.#options.token}`)
      return { status: 401, body: { error: 'Invalid username or password.' } };
    if (what === 'GET /api/whoami-v2')
      return ok({ type: 'user', name: this.#owner, auth: { type: 'access_token' } });
    if (what === 'POST /api/repos/create') return this.#create(json(body));
    const lfs = /^\/(?:(datasets|spaces)\/)?([^/]+\/[^/]+)\.git\/info\/lfs\/objects\/batch$/.exec(path);
    if (lfs !== null) return this.#batch(`${lfs[1] ?? 'models'}/${lfs[2]}`, json(body));
    const api = /^\/api\/((?:datasets|models|spaces)\/[^/]+\/[^/]+)(?:\/([^/]+)\/main)?$/.exec(path);
    const repo = this.repos.get(api?.[1] ?? '');
    if (repo === undefined) return { status: 404, body: { error: 'Repository not found' } };
    if (api?.[2] === undefined) return ok({ id: api?.[1] });
    if (api[2] === 'tree') return this.#tree(repo, url);
    if (api[2] === 'preupload') return this.#preupload(api[1] ?? '', json(body));
    if (api[2] === 'xet-write-token')
      return ok({ accessToken: 'cas-token', casUrl: `${this.url}/cas`, exp: Date.now() / 1000 + 3600 });
    if (api[2] === 'commit') return this.#commit(api[1] ?? '', repo, body);
    return { status: 404, body: { error: 'Not found' } };
  }

  get #owner(): string {
    return this.#options.owner ?? 'somebody';
  }

  #create(wanted: Record<string, unknown>): HubAnswer {
    if (this.#options.mayCreate === false)
      return { status: 403, body: { error: "You don't have the rights to create a dataset" } };
    const name = `${String(wanted['type'])}s/${String(wanted['organization'])}/${String(wanted['name'])}`;
    if (this.repos.has(name)) return { status: 409, body: { error: 'You already created this repo' } };
    this.repos.set(name, {
      visibility: (wanted['visibility'] as string | undefined) ?? null,
      sdk: (wanted['sdk'] as string | undefined) ?? null,
      files: new Map([['.gitattributes', Buffer.from('*.parquet filter=lfs\n')]]),
      commits: [],
    });
    return ok({ url: `${this.url}/${name}`, id: name });
  }

  #tree(repo: HubRepo, url: URL): HubAnswer {
    const from = Number(url.searchParams.get('cursor') ?? 0);
    const all = [...repo.files].sort(([a], [b]) => (a < b ? -1 : 1));
    const page = all.slice(from, from + PAGE_SIZE).map(([path, bytes]) => ({
      type: 'file',
      path,
      size: bytes.length,
      oid: this.#isLarge(bytes) ? gitOid(Buffer.from(sha256(bytes))) : gitOid(bytes),
      ...(this.#isLarge(bytes) ? { lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 130 } } : {}),
    }));
    url.searchParams.set('cursor', String(from + PAGE_SIZE));
    const headers = { link: `<${url.href}>; rel="next"` };
    return { status: 200, body: page, ...(from + PAGE_SIZE < all.length ? { headers } : {}) };
  }

  #isLarge(bytes: { readonly length: number }): boolean {
    return bytes.length >= (this.#options.largeBytes ?? 10_000_000);
  }

  #preupload(name: string, wanted: Record<string, unknown>): HubAnswer {
    const large = new Set<string>();
    this.#large.set(name, large);
    const files = (wanted['files'] as { path: string; size: number }[]).map(({ path, size }) => {
      const isLarge = this.#isLarge({ length: size });
      if (isLarge) large.add(path);
      return { path, uploadMode: isLarge ? 'lfs' : 'regular' };
    });
    return ok({ files });
  }

  #batch(name: string, wanted: Record<string, unknown>): HubAnswer {
    if (!this.repos.has(name)) return { status: 404, body: { error: 'Repository not found' } };
    const transfers = wanted['transfers'] as string[];
    const transfer = this.#options.transfer ?? 'basic';
    if (!transfers.includes(transfer)) this.problems.push(`the client does not speak ${transfer}`);
    const objects = (wanted['objects'] as { oid: string; size: number }[]).map(({ oid, size }) => ({
      oid,
      size,
      ...(this.#storage.has(oid) ? {} : { actions: { upload: this.#uploadOf(name, oid, size, transfer) } }),
    }));
    return ok({ transfer, objects });
  }

  #uploadOf(name: string, oid: string, size: number, transfer: string): object {
    const href = `${this.url}/storage/${oid}?signature=secret-signature`;
    if (transfer === 'basic') return { href };
    if (transfer === 'xet') {
      return {
        href: `${this.url}/cas`,
        header: {
          'X-Xet-Cas-Url': `${this.url}/cas`,
          'X-Xet-Access-Token': 'cas-token',
          'X-Xet-Token-Expiration': String(Math.floor(Date.now() / 1000) + 3600),
          'X-Xet-Session-Id': name,
        },
      };
    }
    const parts = Array.from({ length: Math.ceil(size / PART_BYTES) }, (_, index) => [
      String(index + 1).padStart(5, '0'),
      `${this.url}/storage/${oid}/${index + 1}?signature=secret-signature`,
    ]);
    return {
      href: `${this.url}/storage/${oid}/complete`,
      header: { chunk_size: String(PART_BYTES), ...Object.fromEntries(parts) },
    };
  }

  #store(what: string, path: string, body: Buffer, authorization: string | null): HubAnswer {
    if (authorization !== null) this.problems.push('the token was sent to the storage');
    const [, , oid = '', part] = path.split('/');
    if (part === 'complete') {
      const { parts } = json(body) as { parts?: { partNumber: number; etag: string }[] };
      const pieces = (parts ?? []).map(
        ({ partNumber }) => this.#parts.get(`${oid}/${partNumber}`) ?? Buffer.alloc(0),
      );
      return this.#keep(oid, Buffer.concat(pieces));
    }
    if (!what.startsWith('PUT ')) return { status: 405 };
    if (part === undefined) return this.#keep(oid, body);
    this.#parts.set(`${oid}/${part}`, body);
    return { status: 200, headers: { etag: `"${part}"` } };
  }

  #keep(oid: string, bytes: Buffer): HubAnswer {
    if (sha256(bytes) !== oid) {
      this.problems.push(`stored under ${oid}: other bytes`);
      return { status: 400 };
    }
    this.#storage.set(oid, bytes);
    return { status: 200 };
  }

  #cas(what: string, path: string, body: Buffer, authorization: string | null): HubAnswer {
    if (authorization !== 'Bearer cas-token') this.problems.push(`${path} was asked with another token`);
    if (what.startsWith('GET /cas/v1/chunks/')) return { status: 404 };
    if (path.startsWith('/cas/v1/xorbs/')) {
      this.#xorbs.set(path.split('/').at(-1) ?? '', xorbChunks(body));
      return ok({ was_inserted: true });
    }
    for (const [oid, bytes] of shardFiles(body, this.#xorbs)) this.#storage.set(oid, bytes);
    return ok({ result: 1 });
  }

  #commit(name: string, repo: HubRepo, body: Buffer): HubAnswer {
    const files = new Map(repo.files);
    const [added, deleted]: [string[], string[]] = [[], []];
    let summary = '';
    for (const line of body.toString().split('\n')) {
      const { key, value } = JSON.parse(line) as { key: string; value: Record<string, string> };
      const path = value['path'] ?? '';
      if (key === 'header') summary = value['summary'] ?? '';
      else if (key === 'deletedFile') {
        if (!files.delete(path)) return { status: 400, body: { error: `no file ${path} to delete` } };
        deleted.push(path);
      } else if (key === 'file') {
        if (this.#large.get(name)?.has(path) === true) this.problems.push(`${path} is large and came inline`);
        files.set(path, Buffer.from(value['content'] ?? '', 'base64'));
        added.push(path);
      } else {
        const bytes = this.#storage.get(value['oid'] ?? '');
        if (bytes === undefined || bytes.length !== Number(value['size']))
          return { status: 400, body: { error: `the large file ${path} was not uploaded` } };
        files.set(path, bytes);
        added.push(path);
      }
    }
    const oid = createHash('sha1').update(body).update(String(repo.commits.length)).digest('hex');
    repo.files = files;
    repo.commits.push({ oid, summary, added: added.sort(), deleted: deleted.sort() });
    return ok({ success: true, commitOid: oid, commitUrl: `${this.url}/${name}/commit/${oid}` });
  }
}

const ok = (body: object): HubAnswer => ({ status: 200, body });
const json = (body: Buffer): Record<string, unknown> =>
  JSON.parse(body.toString()) as Record<string, unknown>;

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function send(response: ServerResponse, { status, headers, body }: HubAnswer): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(body === undefined ? '' : JSON.stringify(body));
}
