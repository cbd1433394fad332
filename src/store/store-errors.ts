/** The store's refusals, worded once for every adapter. */
import { DlgforgeError } from '../kernel/errors.ts';
import type { PersistenceId } from '../kernel/ids.ts';
import type { LeaseGrant } from '../ports/store.ts';

/** I2: somebody else has taken over; whoever reads this stops. */
export function staleAppend(id: PersistenceId, epoch: number, afterSeq: number): DlgforgeError {
  return new DlgforgeError(
    'stale_epoch',
    `${id} has moved on: it is no longer held under epoch ${epoch} at position ${afterSeq}. ` +
      'Another process took it over; nothing was written and this one stops working on it.',
    { details: { persistenceId: id, epoch, afterSeq } },
  );
}

export function staleHold(id: PersistenceId, epoch: number): DlgforgeError {
  return new DlgforgeError(
    'stale_epoch',
    `${id} is no longer held under epoch ${epoch}. Another process took it over; this one stops working on it.`,
    { details: { persistenceId: id, epoch } },
  );
}

export function staleLease(lease: LeaseGrant): DlgforgeError {
  return new DlgforgeError(
    'stale_epoch',
    `The lease ${lease.name} is no longer held under epoch ${lease.epoch}. ` +
      'Another process took it over; nothing was written and this one stops.',
    { details: { lease: lease.name, epoch: lease.epoch } },
  );
}

export function runIdTaken(id: string): DlgforgeError {
  return new DlgforgeError(
    'resume',
    `There is a run ${id} already. Resume it with run.resume_run_id, or choose another run.run_id.`,
    { details: { runId: id } },
  );
}

export function noSuchRun(id: string): DlgforgeError {
  return new DlgforgeError(
    'resume',
    `There is no run ${id} in this store. List them with: dlgforge runs list`,
    {
      details: { runId: id },
    },
  );
}

export function tooManyEndpoints(runId: string, name: string, max: number): DlgforgeError {
  return new DlgforgeError(
    'overloaded',
    `Run ${runId} has ${max} endpoints already, the removed ones counted; ${name} was not added. ` +
      'Give it the name of one that was removed: dlgforge endpoints list shows them.',
    { details: { runId, name } },
  );
}

export function noSuchDataset(id: string): DlgforgeError {
  return new DlgforgeError(
    'store',
    `There is no dataset ${id} in this store. It is made when a run opens its output folder; check store.postgres.dsn.`,
    { details: { datasetId: id } },
  );
}

export function noSuchPass(id: string, pass: string): DlgforgeError {
  return new DlgforgeError(
    'store',
    `The dataset ${id} has no judge pass ${pass}: \`dlgforge judge\` begins one before it records verdicts.`,
    { details: { datasetId: id, pass } },
  );
}

export function storeClosed(): DlgforgeError {
  return new DlgforgeError('cancelled', 'The store is closed: this process is stopping.');
}
