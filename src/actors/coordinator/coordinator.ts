/**
 * One per run, on whichever node holds its lease: decides which conversation is opened next, which worker
 * has it and whose turn it is to be committed, and when the run is over. The rules are in
 * `dialogue/schedule.ts`; the truth is the commit table, from which another life, here or on another node,
 * goes on. Its journal are the run's events.
 *
 * Its parts: who leads (`life.ts`), the workers (`crew.ts`), the events (`event-log.ts`, `record.ts`,
 * `catch-up.ts`).
 */
import { createSchedule, type LaneStart } from '../../dialogue/schedule.ts';
import { decodeRunEvent, type RunEvent, runEventsId } from '../../protocol/run-events.ts';
import { decodeCoordinatorMessage } from '../decode-messages.ts';
import { withEarlier } from '../earlier-counts.ts';
import type { CoordinatorMessage } from '../messages.ts';
import { type Persistence, persistentActor } from '../runtime/persistent-actor.ts';
import type { ActorContext, ActorDefinition, Behaviour } from '../runtime/types.ts';
import { missingEvents } from './catch-up.ts';
import { createLife } from './life.ts';
import type { CoordinatorOptions, Held } from './options.ts';
import { decodeRecord, encodeRecord, evolveRecord, initialRecord, type RunRecord } from './record.ts';

const SNAPSHOT_EVERY = 200;

export function coordinator(options: CoordinatorOptions): ActorDefinition<CoordinatorMessage> {
  const held: Held = { hasStarted: false, ending: null, workers: new Map() };
  const earlier = withEarlier([], options.earlier ?? []);
  const none = { committed: 0, dropped: 0 };
  const actor = persistentActor<RunRecord, RunEvent, CoordinatorMessage>({
    kind: 'coordinator',
    mailbox: { capacity: 65_536 },
    decode: decodeCoordinatorMessage,
    id: runEventsId(options.runId),
    journal: options.store.journal,
    initial: initialRecord(
      options.languages.map((_, i) => earlier.find(({ languageIndex }) => languageIndex === i) ?? none),
    ),
    evolve: evolveRecord,
    // What a later release wrote changes nothing here (`evolveRecord`).
    decodeEvent: (stored) => decodeRunEvent(stored) as RunEvent,
    snapshot: { every: SNAPSHOT_EVERY, encode: encodeRecord, decode: decodeRecord },
    behave: (context, persistence) => begin(options, held, context, persistence),
  });
  return {
    ...actor,
    async start(context) {
      // Who has lost the lease must not take the journal from whoever has it now (I2).
      await options.store.renewLease(options.lease);
      return await actor.start(context);
    },
  };
}

async function begin(
  options: CoordinatorOptions,
  held: Held,
  context: ActorContext<CoordinatorMessage>,
  persistence: Persistence<RunRecord, RunEvent>,
): Promise<Behaviour<CoordinatorMessage>> {
  // A run that had ended goes on because a person wants it to.
  const fresh = !held.hasStarted && (options.fresh || persistence.state.end !== null);
  for await (const events of missingEvents(options, persistence.state)) await persistence.persist(events);
  const { epoch } = options.lease;
  await persistence.persist([{ type: 'CoordinatorStarted', node: context.self.node, epoch, fresh }]);
  held.hasStarted = true;
  const schedule = createSchedule(
    await laneStarts(options, persistence.state),
    options.limits,
    options.turnCountOf,
  );
  const wanted = (await options.wanted?.()) ?? 'run';
  return createLife({ options, held, context, persistence, schedule, wanted });
}

/** Where each language stands, from what is committed. */
async function laneStarts(options: CoordinatorOptions, record: RunRecord): Promise<LaneStart[]> {
  const counts = withEarlier(await options.store.runCounts(options.runId), options.earlier ?? []);
  return options.languages.map((_, languageIndex) => {
    const known = counts.find((count) => count.languageIndex === languageIndex);
    return {
      target: options.totalSamples,
      committed: known?.committed ?? 0,
      dropped: known?.dropped ?? 0,
      consecutiveDrops: record.languages[languageIndex]?.consecutiveDrops ?? 0,
      nextIndex: known?.nextIndex ?? 0,
    };
  });
}
