import type { Clock } from '../../kernel/clock.ts';
import type { Logger } from '../../kernel/logger.ts';
import type { Branches } from './branches.ts';
import type { Meters } from './meters.ts';
import type { PostOffice } from './post-office.ts';
import type { Resident } from './resident.ts';
import type { MailboxLimit, RestartPolicy } from './types.ts';

/** What holds for every actor that does not say otherwise. */
export interface ActorDefaults {
  readonly restart: RestartPolicy;
  readonly mailbox: MailboxLimit;
  /** How long a stop waits for the handler in hand, and then for `stopped`, before it goes on without. */
  readonly stopDeadlineMs: number;
  readonly askTimeoutMs: number;
}

/** What an actor's cell needs of the system that it lives in. */
export interface Host {
  readonly node: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly defaults: ActorDefaults;
  /** The nact parents of actors without a parent. */
  readonly branches: Branches;
  readonly post: PostOffice;
  readonly meters: Meters;

  nextIncarnation(): number;
  /** Makes a path known. Throws when the name is unfit or taken, or the system has stopped. */
  admit(cell: Resident, name: string): void;
  dismiss(cell: Resident): void;
}
