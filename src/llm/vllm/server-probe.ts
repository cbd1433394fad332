/** What a vLLM server says of itself, and whether it answers (`ServerProbe`). */
import { request } from 'undici';
import { z } from 'zod';
import type { ServerProbe, ServerVitals } from '../../ports/server-process.ts';
import { loadOf } from './server-metrics.ts';

/** vLLM's metrics are some 100 kB; whatever sends more is no vLLM server. */
const BODY_BYTES_MAX = 4 * 1024 * 1024;
const MODELS_MAX = 100;

const modelsSchema = z.object({ data: z.array(z.object({ id: z.string() })) });

/** The key goes to `/v1` only, which is what vLLM protects. */
export const serverProbe: ServerProbe = {
  async vitals(baseUrl, key, timeoutMs) {
    const root = baseUrl.replace(/\/v1\/?$/, '');
    const [health, models, metrics] = await Promise.all([
      get(`${root}/health`, {}, timeoutMs),
      get(`${root}/v1/models`, withKey(key), timeoutMs),
      get(`${root}/metrics`, {}, timeoutMs),
    ]);
    return {
      isHealthy: health !== null,
      models: models === null ? null : modelsOf(models),
      load: metrics === null ? null : loadOf(metrics),
    };
  },

  async answers(baseUrl, key, model, patience) {
    try {
      const { body } = await request(`${baseUrl}/chat/completions`, {
        method: 'POST',
        headers: { ...withKey(key), 'content-type': 'application/json', connection: 'close' },
        body: JSON.stringify({ model, max_tokens: 1, messages: [{ role: 'user', content: 'Hi' }] }),
        signal: patience,
        // Theirs end sooner than a slow server's first token may take.
        headersTimeout: 0,
        bodyTimeout: 0,
      });
      body.on('error', () => undefined).destroy();
      return true;
    } catch {
      return !patience.aborted;
    }
  },
};

const withKey = (key: string | null): Record<string, string> =>
  key === null ? {} : { authorization: `Bearer ${key}` };

/** The text of an answer with status 200; null for everything else, which is an answer too. */
async function get(
  url: string,
  headers: Readonly<Record<string, string>>,
  timeoutMs: number,
): Promise<string | null> {
  const signal = AbortSignal.timeout(timeoutMs);
  try {
    const { statusCode, body } = await request(url, { headers: { ...headers, connection: 'close' }, signal });
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of body as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > BODY_BYTES_MAX) return null;
      chunks.push(chunk);
    }
    return statusCode === 200 ? Buffer.concat(chunks).toString() : null;
  } catch {
    // Not there, not in time, or no HTTP: for a probe all of these are "no".
    return null;
  }
}

function modelsOf(text: string): ServerVitals['models'] {
  try {
    const { data } = modelsSchema.parse(JSON.parse(text));
    return data.slice(0, MODELS_MAX).map(({ id }) => id);
  } catch {
    // Something else answers there.
    return null;
  }
}
