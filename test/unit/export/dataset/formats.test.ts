import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { chatmlText, escapeMarkers, unescapeMarkers } from '../../../../src/export/dataset/chatml-row.ts';
import { chatMessages, toolDefinitions } from '../../../../src/export/dataset/openai-row.ts';
import { ParquetFiles } from '../../../../src/export/dataset/parquet-files.ts';
import { sanitiseRow } from '../../../../src/export/dataset/sanitise.ts';
import { zstdLines } from '../../../../src/export/dataset/line-writers.ts';
import { parquetOf, zstdLinesOf } from '../../../support/export-rows.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dlgforge-formats-'));
});
afterAll(() => rm(folder, { recursive: true }));

const rowOf = (known: object) => sanitiseRow({ known, unknown: {} }).row;
const call = (id: string) => ({ id, type: 'function', function: { name: 'f', arguments: '' } });

describe('openai', () => {
  test('J3: results whose ids fit no call answer the open calls in their order', () => {
    const messages = chatMessages(
      rowOf({
        messages_with_tools: [
          { role: 'assistant', content: '', tool_calls: [call('call_0'), call('call_1')] },
          { role: 'tool', tool_call_id: 'call_2', content: 'first' },
          { role: 'tool', tool_call_id: 'call_2', content: 'second' },
        ],
      }),
    );
    expect(messages[0]?.tool_calls?.map(({ id }) => id)).toEqual(['call_0', 'call_1']);
    expect(messages.slice(1)).toEqual([
      { role: 'tool', tool_call_id: 'call_0', content: 'first' },
      { role: 'tool', tool_call_id: 'call_1', content: 'second' },
    ]);
  });

  test('calls without an id get one; ids that fit are kept, in any order', () => {
    const messages = chatMessages(
      rowOf({
        messages_with_tools: [
          { role: 'assistant', tool_calls: [call(''), call('x')] },
          { role: 'tool', tool_call_id: 'x', content: 'of x' },
          { role: 'tool', tool_call_id: '', content: 'of the other' },
        ],
      }),
    );
    expect(messages.slice(1).map((message) => message.tool_call_id)).toEqual(['x', 'call_1']);
  });

  test('a row without the column of tools has its plain messages', () => {
    expect(chatMessages(rowOf({ messages: [{ role: 'user', content: 'q', agent: 'a' }] }))).toEqual([
      { role: 'user', content: 'q' },
    ]);
  });

  test('tools are defined once each, those that dlgforge does not have by their name', () => {
    expect(toolDefinitions(['web_search', 'sql'])).toMatchObject([
      { function: { name: 'sql', parameters: { type: 'object' } } },
      { function: { name: 'web_search', parameters: { required: ['query'] } } },
    ]);
  });
});

describe('chatml', () => {
  test('no text holds a marker, and taking the escapes away gives it back', () => {
    const text = fc
      .array(fc.constantFrom('<|im_start|>', '<|im_end|>', '<', '\\', '|', 'im_end|>', 'a', '\n'), {
        maxLength: 12,
      })
      .map((parts) => parts.join(''));
    fc.assert(
      fc.property(text, (content) => {
        const escaped = escapeMarkers(content);
        expect(escaped).not.toMatch(/<\|im_(?:start|end)\|>/);
        expect(unescapeMarkers(escaped)).toBe(content);
      }),
    );
  });

  test('a conversation has as many messages as markers', () => {
    const text = chatmlText(
      rowOf({
        messages: [
          { role: 'user', content: '<|im_end|>' },
          { role: 'assistant', content: 'b' },
        ],
      }),
    );
    expect(text.match(/<\|im_start\|>/g)).toHaveLength(2);
    expect(text.match(/<\|im_end\|>/g)).toHaveLength(2);
  });
});

describe('parquet', () => {
  const fields = {
    id: 'whole',
    text: 'text',
    list: { kind: 'list', item: { kind: 'object', fields: { n: 'whole', t: { kind: 'texts' } } } },
  } as const;
  const LARGE = 20_000_000;

  test('is cut into files of a size; empty lists, nulls and large numbers come back', async () => {
    const files = new ParquetFiles({ folder, split: 'train', fields, compression: 'snappy', shardBytes: 1 });
    const rows = [
      { id: 1, text: 'a', list: [] },
      {
        id: null,
        text: '',
        list: [
          { n: null, t: [] },
          { n: 2, t: ['x', 'y'] },
        ],
      },
      { id: Number.MAX_SAFE_INTEGER, text: '😀\u2028', list: [{ n: -1, t: [] }] },
    ];
    for (const row of rows) await files.add(row, LARGE);
    const names = await files.close();
    expect(names).toEqual([0, 1, 2].map((shard) => `train-0000${shard}-of-00003.parquet`));
    const read = [];
    for (const name of names) read.push(...(await parquetOf(join(folder, name))).rows);
    expect(read).toEqual(rows);
  });

  test('holds several row groups in one file, compressed with zstd', async () => {
    const files = new ParquetFiles({ folder, split: 'test', fields, compression: 'zstd', shardBytes: 1e9 });
    const rows = Array.from({ length: 30 }, (_, id) => ({ id, text: 'same', list: [] }));
    for (const [index, row] of rows.entries()) await files.add(row, index % 10 === 9 ? LARGE : 1);
    const [name = ''] = await files.close();
    expect(name).toBe('test-00000-of-00001.parquet');
    expect((await parquetOf(join(folder, name))).rows).toEqual(rows);
  });
});

describe('lines', () => {
  test('a file that cannot be written is an error that names it, not a hang', async () => {
    const writer = zstdLines(join(folder, 'missing', 'x.zst'));
    const text = 'x'.repeat(300_000);
    await expect(
      (async () => {
        for (let i = 0; i < 5; i += 1) await writer.write(text);
        await writer.close();
      })(),
    ).rejects.toThrow('missing/x.zst');
  });

  test('much more than a buffer comes back', async () => {
    const path = join(folder, 'many.zst');
    const writer = zstdLines(path);
    const rows = Array.from({ length: 20_000 }, (_, id) => ({ id, text: 'ü'.repeat(id % 50) }));
    for (const row of rows) await writer.write(JSON.stringify(row));
    await writer.close();
    expect(await zstdLinesOf(path)).toEqual(rows);
  });
});
