/**
 * A process that uses a store, for tests to start and kill. Arguments: state folder, schema, what to do.
 * Says one line for everything that it has done; ends in order when its input ends.
 */
import { datasetId, persistenceId, runId } from '../../src/kernel/ids.ts';
import type { Store } from '../../src/ports/store.ts';
import { openStore, processIdentity } from '../../src/store/open-store.ts';

const [stateDir = '', schema = '', task = 'hold'] = process.argv.slice(2);

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Appends and commits for as long as it is let live; every conversation has two keys and two ledger lines. */
async function work(store: Store): Promise<void> {
  const dataset = datasetId('dataset');
  await store.openDataset(dataset, '/out');
  const run = runId(`run ${process.pid}`);
  await store.createRun({ id: run, datasetId: dataset, config: {}, fingerprint: {}, plan: {} });
  const lease = await store.acquireLease(`run/${run}`, processIdentity('worker'), 1_000, () => false);
  if (lease.type !== 'granted') throw new Error('not granted');
  const journal = persistenceId(`work/${process.pid}`);
  const { epoch } = await store.journal.recover(journal);
  for (let index = 0; ; index += 1) {
    await store.journal.append(journal, epoch, index, [{ type: 'Done', index, text: 'x'.repeat(3_000) }]);
    say(`appended ${index}`);
    const questions = [`${run} ${index} a`, `${run} ${index} b`];
    await store.commit({
      runId: run,
      languageIndex: 0,
      index,
      datasetId: dataset,
      lease: lease.lease,
      language: 'en',
      conversationId: `${run}-${index}`,
      turns: 2,
      outcome: {
        type: 'committed',
        payload: { index },
        questionKeys: questions.map((question) => Buffer.from(question).toString('hex')),
        ledger: questions.map((question) => ({
          turn: 1,
          passageId: 'p',
          source: 's',
          question,
          questionHash: '',
          questionMode: '',
          seedTopic: '',
          seedQuestion: '',
          seedQuestionHash: '',
        })),
      },
    });
    say(`committed ${index}`);
  }
}

const store = await openStore({ stateDir, schema, poolMax: 3 });
say('ready');
if (task === 'work') await work(store);
for await (const line of process.stdin) {
  if (String(line).trim() !== 'use') continue;
  await store.capabilities.remember(`key ${process.pid}`, 'text');
  say(`used ${(await store.capabilities.load()).size}`);
}
await store.close();
say('closed');
