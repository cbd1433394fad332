/**
 * The only file that imports nact 7.6.2. It gives nact's actors a type and repairs what can be
 * repaired from outside; the numbers are those of docs/decisions/nact.md and of the tests.
 *
 * Used: `start`, `spawn`, `dispatch`, `stop`, the hooks `onCrash` and `afterStop`.
 * Never used: `query` (trap 2), `spawnStateless` (3), nact's persistence (12), and the decisions
 * `escalate` and `reset*` (6).
 */
import { dispatch, spawn, start, stop } from 'nact';

declare const NACT: unique symbol;

/** A nact actor's or system's reference. Its mailbox takes nothing but wishes for a turn. */
export interface NactRef {
  readonly [NACT]: true;
}

export type NactParent = NactRef;

/** What a nact actor carries. */
export interface Carried {
  /** One at a time; nact waits for the promise. A failure goes to `crashed`. */
  turn(): void | Promise<void>;
  /** nact gives no turn until this has decided. */
  crashed(error: unknown): Promise<'resume' | 'stop'>;
  /** The last call: what still waits will not be handled (trap 4). */
  drained(): void;
  /** `crashed` or `drained` failed themselves: our own mistake. */
  broken(error: unknown): void;
}

interface CrashContext {
  readonly resume: symbol;
  readonly stop: symbol;
}

/** nact's declarations do not fit its behaviour (traps 10 and 11), so its functions are typed here. */
const untyped = {
  start: start as unknown as (options: { readonly name: string }) => NactParent,
  spawn: spawn as unknown as (
    parent: NactParent,
    turn: () => void | Promise<void>,
    name: string,
    properties: {
      readonly onCrash: (message: unknown, error: unknown, context: CrashContext) => Promise<symbol>;
      readonly afterStop: () => void;
    },
  ) => NactRef,
  dispatch: dispatch as unknown as (to: NactRef, message: true) => void,
  stop: stop as unknown as (ref: NactParent) => void,
};

/** Trap 10: only `start({ name })` takes a name. It must be unique in the process. */
export function startNact(name: string): NactParent {
  return untyped.start({ name });
}

/** `name` must be unique under `parent`; characters that nact does not allow (trap 8) are replaced. */
export function spawnNact(parent: NactParent, name: string, carried: Carried): NactRef {
  return untyped.spawn(parent, () => carried.turn(), nactName(name), {
    // Trap 5: a hook that throws wedges the actor or ends the process.
    onCrash: async (_message, error, context) => {
      try {
        return (await carried.crashed(error)) === 'resume' ? context.resume : context.stop;
      } catch (fault) {
        carried.broken(fault);
        return context.stop;
      }
    },
    afterStop: () => {
      try {
        carried.drained();
      } catch (fault) {
        carried.broken(fault);
      }
    },
  });
}

/** A nact actor that handles nothing and only holds children. */
export function spawnNactBranch(parent: NactParent, name: string): NactParent {
  const nothing: Carried = {
    turn: () => undefined,
    crashed: () => Promise.resolve('resume'),
    drained: () => undefined,
    broken: () => undefined,
  };
  return spawnNact(parent, name, nothing);
}

/** Asks for a turn. Does nothing when the actor has stopped; the caller knows whether it has (trap 4). */
export function dispatchNact(to: NactRef): void {
  untyped.dispatch(to, true);
}

/**
 * Traps 1 and 7: nact neither stops the children nor waits for the handler in hand. So this is only
 * called from inside an actor's last turn, when its children have ended.
 */
export function stopNact(ref: NactRef): void {
  untyped.stop(ref);
}

function nactName(name: string): string {
  return name.replaceAll(/[^a-z0-9\-$_.+!*'(),]/gi, '_');
}
