/**
 * As much of S3 as a client that keeps a table there uses: objects in memory, conditional writes, ranges,
 * lists by prefix, uploads in parts. Counts the requests that were not signed with the right key.
 */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface S3Server extends AsyncDisposable {
  readonly url: string;
  readonly objects: ReadonlyMap<string, Buffer>;
  readonly strangers: number;
}

export async function startS3(keyId: string): Promise<S3Server> {
  const objects = new Map<string, Buffer>();
  const uploads = new Map<string, Map<number, Buffer>>();
  let strangers = 0;

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const body = await bodyOf(request);
    if (!(request.headers.authorization ?? '').includes(`Credential=${keyId}/`)) {
      strangers += 1;
      return void response.writeHead(403).end();
    }
    const { pathname, searchParams: query } = new URL(request.url ?? '/', 'http://s3');
    const key = decodeURIComponent(pathname).split('/').slice(2).join('/');
    const name = `${request.method} ${key === '' ? 'bucket' : 'object'}`;
    if (name === 'GET bucket') return xml(response, listed(objects, query));
    if (name === 'POST bucket') return xml(response, deleted(objects, body.toString()));
    if (name === 'POST object') return upload(response, key, query, objects, uploads);
    if (name === 'PUT object') return put(request, response, key, query, body, objects, uploads);
    if (name === 'DELETE object') {
      objects.delete(key);
      return void response.writeHead(204).end();
    }
    get(request, response, objects.get(key));
  };

  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => response.writeHead(500).end(String(error)));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    objects,
    get strangers() {
      return strangers;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

const etagOf = (bytes: Buffer): string => `"${createHash('md5').update(bytes).digest('hex')}"`;
const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

function xml(response: ServerResponse, body: string): void {
  response.writeHead(200, { 'content-type': 'application/xml' });
  response.end(`<?xml version="1.0" encoding="UTF-8"?>${body}`);
}

function listed(objects: ReadonlyMap<string, Buffer>, query: URLSearchParams): string {
  const prefix = query.get('prefix') ?? '';
  const delimiter = query.get('delimiter') ?? '';
  const after = query.get('start-after') ?? '';
  const folders = new Set<string>();
  const contents: string[] = [];
  for (const [key, bytes] of [...objects].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (!key.startsWith(prefix) || key <= after) continue;
    const end = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length);
    if (end >= 0) folders.add(key.slice(0, end + 1));
    else {
      contents.push(
        `<Contents><Key>${escaped(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>${escaped(etagOf(bytes))}</ETag><Size>${bytes.length}</Size></Contents>`,
      );
    }
  }
  const prefixes = [...folders].map(
    (folder) => `<CommonPrefixes><Prefix>${escaped(folder)}</Prefix></CommonPrefixes>`,
  );
  return `<ListBucketResult><IsTruncated>false</IsTruncated>${contents.join('')}${prefixes.join('')}</ListBucketResult>`;
}

function deleted(objects: Map<string, Buffer>, body: string): string {
  const keys = [...body.matchAll(/<Key>([^<]*)<\/Key>/g)].map(([, key = '']) => key.replaceAll('&amp;', '&'));
  for (const key of keys) objects.delete(key);
  const gone = keys.map((key) => `<Deleted><Key>${escaped(key)}</Key></Deleted>`);
  return `<DeleteResult>${gone.join('')}</DeleteResult>`;
}

function upload(
  response: ServerResponse,
  key: string,
  query: URLSearchParams,
  objects: Map<string, Buffer>,
  uploads: Map<string, Map<number, Buffer>>,
): void {
  if (query.has('uploads')) {
    const id = `upload-${uploads.size}`;
    uploads.set(id, new Map());
    return xml(
      response,
      `<InitiateMultipartUploadResult><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`,
    );
  }
  const parts = [...(uploads.get(query.get('uploadId') ?? '') ?? [])].sort(([a], [b]) => a - b);
  const bytes = Buffer.concat(parts.map(([, part]) => part));
  objects.set(key, bytes);
  xml(
    response,
    `<CompleteMultipartUploadResult><ETag>${escaped(etagOf(bytes))}</ETag></CompleteMultipartUploadResult>`,
  );
}

function put(
  request: IncomingMessage,
  response: ServerResponse,
  key: string,
  query: URLSearchParams,
  body: Buffer,
  objects: Map<string, Buffer>,
  uploads: Map<string, Map<number, Buffer>>,
): void {
  const part = query.get('partNumber');
  if (part !== null) uploads.get(query.get('uploadId') ?? '')?.set(Number(part), body);
  else if (request.headers['if-none-match'] === '*' && objects.has(key))
    return void response.writeHead(412).end();
  else objects.set(key, body);
  response.writeHead(200, { etag: etagOf(body) }).end();
}

function get(request: IncomingMessage, response: ServerResponse, bytes: Buffer | undefined): void {
  if (bytes === undefined) {
    return void response.writeHead(404).end('<Error><Code>NoSuchKey</Code></Error>');
  }
  const [, from = '', to = ''] = /^bytes=(\d*)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
  const start = from === '' && to !== '' ? Math.max(0, bytes.length - Number(to)) : Number(from);
  const end = from === '' || to === '' ? bytes.length : Math.min(Number(to) + 1, bytes.length);
  const isPart = request.headers.range !== undefined;
  const piece = isPart ? bytes.subarray(start, end) : bytes;
  response.writeHead(isPart ? 206 : 200, {
    etag: etagOf(bytes),
    'last-modified': 'Thu, 01 Jan 2026 00:00:00 GMT',
    'content-length': piece.length,
    ...(isPart ? { 'content-range': `bytes ${start}-${end - 1}/${bytes.length}` } : {}),
  });
  response.end(request.method === 'HEAD' ? undefined : piece);
}
