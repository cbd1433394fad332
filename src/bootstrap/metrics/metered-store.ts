/** A store whose work is counted: how long it takes, what it refuses, which leases this process holds. */
import { isDlgforgeError } from '../../kernel/errors.ts';
import type { Metrics } from '../../kernel/metrics.ts';
import type { CommitRequest, CommitResult, Journal, LeaseGrant, Store } from '../../ports/store.ts';
import { delegating } from './delegating.ts';
import { countAnswers } from './paid-answers.ts';

export function meteredStore(store: Store, metrics: Metrics): Store {
  if (!metrics.isOn) return store;
  const failed = failureCounter(metrics);
  const replaced = {
    journal: meteredJournal(store.journal, metrics, failed),
    commit: meteredCommit(store, metrics),
    ...meteredLeases(store, metrics),
  };
  return delegating(store, replaced, failed);
}

function meteredJournal(journal: Journal, metrics: Metrics, failed: Failed): Journal {
  const appendSeconds = metrics.histogram('dlgforge_journal_append_seconds');
  const recoverSeconds = metrics.histogram('dlgforge_journal_recover_seconds');
  const events = metrics.counter('dlgforge_journal_events_total');
  const answers = countAnswers(metrics);
  const replaced: Pick<Journal, 'append' | 'recover'> = {
    recover: (id, from) => timed(recoverSeconds, () => journal.recover(id, from)),
    async append(id, epoch, afterSeq, appended) {
      try {
        await timed(appendSeconds, () => journal.append(id, epoch, afterSeq, appended));
      } catch (error) {
        if (isDlgforgeError(error, 'stale_epoch')) answers.fenced(appended);
        throw error;
      }
      events.add(appended.length);
      answers.kept(appended);
    },
  };
  return delegating(journal, replaced, failed);
}

function meteredCommit(store: Store, metrics: Metrics): Store['commit'] {
  const seconds = metrics.histogram('dlgforge_commit_seconds');
  const outcome = (request: CommitRequest, { type }: CommitResult): string =>
    type === 'duplicate' ? 'duplicate' : request.outcome.type;
  return async (request) => {
    const result = await timed(seconds, () => store.commit(request));
    metrics.counter('dlgforge_conversations_total', { outcome: outcome(request, result) }).add();
    return result;
  };
}

function meteredLeases(
  store: Store,
  metrics: Metrics,
): Pick<Store, 'acquireLease' | 'renewLease' | 'releaseLease'> {
  const epoch = ({ name }: LeaseGrant) => metrics.gauge('dlgforge_lease_epoch', { singleton: name });
  return {
    async acquireLease(...args) {
      const result = await store.acquireLease(...args);
      if (result.type === 'granted') epoch(result.lease).set(Number(result.lease.epoch));
      return result;
    },
    async renewLease(lease) {
      try {
        await store.renewLease(lease);
      } catch (error) {
        if (isDlgforgeError(error, 'stale_epoch')) epoch(lease).remove();
        throw error;
      }
    },
    async releaseLease(lease) {
      epoch(lease).remove();
      await store.releaseLease(lease);
    },
  };
}

type Failed = (operation: string, error: unknown) => void;

function failureCounter(metrics: Metrics): Failed {
  return (operation, error) => {
    if (isDlgforgeError(error, 'stale_epoch'))
      return metrics.counter('dlgforge_fenced_writes_total', { operation }).add();
    const reason = isDlgforgeError(error) ? error.code : 'other';
    metrics.counter('dlgforge_store_failures_total', { operation, reason }).add();
  };
}

/** What fails is counted by its failure; its time says nothing about the others. */
async function timed<T>(seconds: { observe(seconds: number): void }, work: () => Promise<T>): Promise<T> {
  const startedMs = performance.now();
  const result = await work();
  seconds.observe((performance.now() - startedMs) / 1000);
  return result;
}
