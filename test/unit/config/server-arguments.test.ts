/** What the servers of `llm.backend: vllm_managed` are told by dlgforge itself, and by nobody else. */
import { describe, expect, test } from 'vitest';
import { checkRequirements } from '../../../src/config/requirements.ts';
import { load } from './project.ts';

const problems = (setting: string): readonly string[] =>
  checkRequirements(
    load(`llm: {backend: vllm_managed, vllm: {model: m, served_model_name: s, ${setting}}}`),
    'run',
  ).problems.map(({ message, hint }) => `${message} ${hint ?? ''}`);

describe('arguments and environment of managed servers', () => {
  test.each([
    ['extra_args: ["--api-key", k]', '--api-key', 'VLLM_API_KEY'],
    ['extra_args: ["--api-key=k"]', '--api-key', 'VLLM_API_KEY'],
    ['extra_args: ["--port", "9000"]', '--port', 'llm.vllm.port_start'],
    ['extra_args: ["--host=0.0.0.0"]', '--host', 'llm.vllm.host'],
    ['env: {VLLM_API_KEY: k}', 'llm.vllm.env holds VLLM_API_KEY', '.env'],
  ])('%s is refused, with where it belongs', (setting, what, where) => {
    expect(problems(setting)).toEqual([expect.stringContaining(what)]);
    expect(problems(setting)[0]).toContain(where);
  });

  test('others are theirs', () => {
    expect(problems('extra_args: ["--port-like", "--hosts=1", "--seed", "1"], env: {A: b}')).toEqual([]);
  });
});
