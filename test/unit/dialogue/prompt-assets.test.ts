import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type PromptFiles,
  parsePromptAssets,
  renderTemplate,
  TASK_PARTS,
  templateVariables,
  unknownVariables,
} from '../../../src/dialogue/prompt-assets.ts';
import { messageOf } from '../../../src/kernel/errors.ts';
import { shippedPromptFiles } from '../../support/prompt-files.ts';

const withOverride = (kind: keyof PromptFiles, value: unknown): PromptFiles => {
  const shipped = shippedPromptFiles();
  return { ...shipped, [kind]: [...shipped[kind], { file: `mine/${kind}.yaml`, value }] };
};
const errorOf = (files: PromptFiles): string => {
  try {
    parsePromptAssets(files);
    return 'accepted';
  } catch (error) {
    return messageOf(error);
  }
};

describe('the shipped prompts', () => {
  const assets = parsePromptAssets(shippedPromptFiles());

  test('use no variable that does not exist', () => expect(unknownVariables(assets)).toEqual([]));

  test('keep what changes within a run out of the system part', () => {
    const constant = ['output_schema', 'judge_reasons', 'judge_enabled', 'retrieval_default_k', 'question'];
    for (const task of Object.values(assets.tasks)) {
      for (const name of templateVariables(task.system)) expect(constant).toContain(name);
    }
  });

  test('keep what changes within a conversation out of the conversation part, but for its growing end', () => {
    for (const task of Object.values(assets.tasks)) {
      const names = templateVariables(task.conversation);
      const allowed = ['user_persona', 'assistant_persona', 'target_language', 'public_conversation_history'];
      expect(names.filter((name) => !allowed.includes(name))).toEqual([]);
      if (names.includes('public_conversation_history')) {
        expect(task.conversation.trimEnd()).toMatch(/\{\{ public_conversation_history \}\}$/);
      }
    }
  });
});

describe('a user’s files', () => {
  test('replace single parts', () => {
    const turn = 'Mine: {{ topic_snippets }} {{ question_mode }}';
    const { tasks } = parsePromptAssets(withOverride('tasks', { qa_generation_task: { turn } }));
    const shipped = parsePromptAssets(shippedPromptFiles()).tasks;
    expect(tasks).toEqual({ ...shipped, qa_generation_task: { ...shipped.qa_generation_task, turn } });
    const { agents } = parsePromptAssets(withOverride('agents', { qa_judge: { role: 'A strict judge.' } }));
    expect(agents.qa_judge.role).toBe('A strict judge.');
  });

  test.each([
    ['tasks', { qa_generation_tusk: {} }, 'qa_generation_tusk'],
    ['tasks', { qa_judge_task: { turns: 'x' } }, 'qa_judge_task'],
    ['tasks', { qa_judge_task: { turn: 7 } }, 'qa_judge_task.turn'],
    ['tasks', { qa_judge_task: { agent: 'nobody' } }, 'qa_judge_task.agent'],
    ['tasks', 'text', 'tasks'],
    ['agents', { qa_judge: { goal: ['a'] } }, 'qa_judge.goal'],
  ] as const)('%s: %j is an error that names the file and the key', (kind, value, key) => {
    const message = errorOf(withOverride(kind, value));
    expect(message).toContain(`mine/${kind}.yaml`);
    expect(message).toContain(key);
  });

  test('that leave out what a task needs are refused', () => {
    const message = errorOf(withOverride('tasks', { qa_generation_task: { turn: 'Ask something.' } }));
    expect(message).toContain('qa_generation_task');
    expect(message).toContain('{{ topic_snippets }}');
  });

  test('a file that is missing parts says which', () => {
    expect(
      errorOf({ agents: shippedPromptFiles().agents, tasks: [{ file: 'tasks.yaml', value: {} }] }),
    ).toContain('kb_answer_task');
  });
});

describe('templates', () => {
  test('values, with and without spaces', () => {
    expect(renderTemplate('{{a}} and {{  b_2 }}', { a: 'x', b_2: 3 })).toBe('x and 3');
  });

  test('lists and objects are JSON, truth values are words', () => {
    expect(renderTemplate('{{ l }} {{ o }} {{ t }}', { l: ['a', 1], o: { k: 'v' }, t: false })).toBe(
      '["a",1] {"k":"v"} false',
    );
  });

  test('unknown names are empty, and so are names of the prototype', () => {
    expect(renderTemplate('a{{ nothing }}b{{ x }} {{ constructor }}', { x: 1 })).toBe('ab1');
  });

  test('a line with nothing in it goes with its label', () => {
    expect(renderTemplate('A: {{ a }}\nB: {{ b }}\n{{ c }}\nD', { a: '', b: 'x', c: null })).toBe('B: x\nD');
  });

  test('what a value contains is never expanded', () => {
    fc.assert(
      fc.property(fc.string(), (secret) => {
        const rendered = renderTemplate('> {{ a }} {{ b }}', { a: '{{ b }}', b: `s${secret}s` });
        expect(rendered).toBe(`> {{ b }} s${secret}s`);
      }),
    );
  });

  test('dollar signs in values are plain', () => {
    expect(renderTemplate('{{ a }}', { a: "$& $1 $' $$" })).toBe("$& $1 $' $$");
  });

  test('variables of a template', () => {
    expect(templateVariables('{{ a }} {{b}} { c } {{ d e }} {{ a }}')).toEqual(['a', 'b', 'a']);
    expect(TASK_PARTS).toEqual(['system', 'conversation', 'turn']);
  });
});
