import { describe, expect, test } from 'vitest';
import { readSpec } from '../../../../src/bootstrap/cluster/run-spec.ts';
import { isDlgforgeError } from '../../../../src/kernel/errors.ts';
import { DOCUMENTS, RUN, submitted } from './submitted-run.ts';

const SECRET = 'hunter2-hunter2';

/** Every place of a configuration, an environment and a command line that a secret can stand in. */
const EVERYWHERE = `
run:
  target_languages: [en, fr]
  distributed: {nats_url: "nats://${SECRET}@n1,nats://me:${SECRET}@n2"}
llm:
  routing:
    endpoints:
      - {name: a, base_url: "https://u:${SECRET}@models.example/v1?api-key=${SECRET}&v=1", api_key: ${SECRET}}
  agents:
    user:
      model: m
      extra: {headers: {Authorization: "Bearer ${SECRET}", Cookie: "s=${SECRET}", X-Anything: ${SECRET}},
              extra_body: {apiKey: ${SECRET}, nested: [{access_token: ${SECRET}}]}, credentials: {user: ${SECRET}},
              auth: "Basic ${SECRET}", note: "Bearer ${SECRET}"}
      routing: {endpoints: [{base_url: "https://own.example/v1", api_key: ${SECRET}}]}
    assistant: {model: m, base_url: "https://u:${SECRET}@own.example/v1"}
    judge: {model: m}
  vllm:
    extra_args: [--api-key, ${SECRET}, "--hf-token=${SECRET}", "--api-key ${SECRET}"]
    env: {HF_TOKEN: ${SECRET}, AWS_SECRET_ACCESS_KEY: ${SECRET}, HTTPS_PROXY: "http://u:${SECRET}@proxy:1"}
tools:
  web_search: {enabled: true}
  retrieval: {embeddings: {model_kwargs: {token: ${SECRET}}, tokenizer_kwargs: {password: ${SECRET}}}}
store: {postgres: {dsn: "postgres://me:${SECRET}@db/data?sslpassword=${SECRET}"}}
`;
const ENVIRONMENT = {
  OPENAI_API_KEY: SECRET,
  SERPER_API_KEY: SECRET,
  HF_TOKEN: SECRET,
  DLGFORGE_NATS_TOKEN: SECRET,
};
const COMMAND = `dlgforge run config.yaml --token ${SECRET} --nats=nats://${SECRET}@n --api-key=${SECRET}`;

describe('what is stored of a run', () => {
  test('I8: holds no secret, wherever one stood', async () => {
    const { spec, loaded } = await submitted(EVERYWHERE, ENVIRONMENT, COMMAND);
    const secrets = loaded.config.llm.routing.endpoints[0]?.api_key?.reveal();
    expect(secrets).toBe(SECRET);
    const stored = JSON.stringify(spec);
    expect(stored).not.toContain(SECRET);
    expect(stored).not.toContain('hunter2');
    expect(spec.config.withheld.length).toBeGreaterThanOrEqual(20);
    expect(spec.command).toBe('dlgforge run config.yaml --token *** --nats=nats://***@n --api-key=***');
  });

  test('I8: a key that got into the prompts or a file name is refused, with where to look', async () => {
    const seeds = 'run: {data: {seeding: {question: "about a-very-secret-key"}}}';
    const endpoints = `llm: {agents: {user: {model: m}, assistant: {model: m}, judge: {model: m}}}`;
    await expect(
      submitted(`${seeds}\n${endpoints}`, { OPENAI_API_KEY: 'a-very-secret-key' }),
    ).rejects.toThrow(/stands in the config of the run/);
  });

  test('may name a database whose address has no secret in it', async () => {
    const dsn = 'postgresql://127.0.0.1:5432/data';
    const { spec } = await submitted(
      'llm: {backend: rehearsal}',
      { POSTGRES_DSN: dsn },
      `dlgforge --dsn ${dsn}`,
    );
    expect(spec.command).toContain(dsn);
  });

  test('comes back from the database as it was', async () => {
    const { spec } = await submitted('llm: {backend: rehearsal}');
    const read = readSpec(RUN, JSON.parse(JSON.stringify(spec)));
    expect(read).toEqual(spec);
    expect(read.knowledge.documents).toEqual(DOCUMENTS);
    expect(read.assets.personas?.user.length).toBeGreaterThan(10);
  });

  test('in a newer form is refused with both versions named', async () => {
    const { spec } = await submitted('llm: {backend: rehearsal}');
    const read = (): unknown => readSpec(RUN, { ...spec, version: 2, build: '9.9.9', more: true });
    expect(read).toThrow(/form 2, by dlgforge 9\.9\.9; dlgforge \d+\.\d+\.\d+.* reads up to form 1/);
    expect(() => readSpec(RUN, { nothing: 'known' })).toThrow(/form unknown/);
  });

  test('that is damaged, or was never there, says what to do', async () => {
    const { spec } = await submitted('llm: {backend: rehearsal}');
    expect(() => readSpec(RUN, { ...spec, assets: {} })).toThrow(/cannot be read.*Start it again/s);
    try {
      readSpec(RUN, null);
      expect.unreachable();
    } catch (error) {
      expect(isDlgforgeError(error, 'resume')).toBe(true);
    }
  });
});
