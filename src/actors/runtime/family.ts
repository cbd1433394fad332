/** Owns: the children of one actor, and which nact actor each of them lives under. */
import { InvariantError } from '../../kernel/errors.ts';
import { Branches } from './branches.ts';
import type { NactParent } from './nact.ts';
import type { Resident } from './resident.ts';
import type { ActorRef } from './types.ts';

export class Family {
  readonly branches: Branches;
  /** By incarnation. */
  readonly children = new Map<number, Resident>();
  readonly #parent: ActorRef<never>;

  constructor(parent: ActorRef<never>, nact: NactParent) {
    this.#parent = parent;
    this.branches = new Branches(nact);
  }

  async stopAll(): Promise<void> {
    await Promise.all([...this.children.values()].map((child) => child.stop()));
  }

  async stop(child: ActorRef<never>): Promise<void> {
    const { node, path } = this.#parent;
    if (child.node !== node || child.path.slice(0, Math.max(0, child.path.lastIndexOf('/'))) !== path) {
      throw new InvariantError(`invariant broken: ${path} stops ${child.path}, which is not its child`);
    }
    await this.children.get(child.incarnation)?.stop();
  }
}
