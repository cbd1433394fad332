/**
 * Owns: which nact actor holds which child of one parent.
 *
 * nact copies the table of an actor's children for every message it handles, which costs a parent of
 * 10 000 children a factor of 100. So a parent's first children are its own, and later ones live
 * under hidden nact actors that handle no messages and go with their parent. Callers see flat siblings.
 *
 * Invariants: 1. no nact actor has more than about a hundred children; 2. a branch is used again
 * before another is made, so that their number follows the peak.
 */
import { DlgforgeError } from '../../kernel/errors.ts';
import { type NactParent, spawnNactBranch } from './nact.ts';

const OWN_CHILDREN_MAX = 64;
const BRANCH_CHILDREN_MAX = 100;
const BRANCHES_MAX = 100;

/** A nact actor with room for a child. */
export interface Branch {
  readonly ref: NactParent;
  readonly capacity: number;
  used: number;
}

export class Branches {
  readonly #branches: Branch[];

  constructor(own: NactParent) {
    this.#branches = [{ ref: own, capacity: OWN_CHILDREN_MAX, used: 0 }];
  }

  /**
   * A nact actor with room; whoever moves in or out keeps its `used`.
   * @throws DlgforgeError `overloaded` when the parent has some ten thousand children.
   */
  withRoom(): Branch {
    return this.#branches.find((branch) => branch.used < branch.capacity) ?? this.#grow();
  }

  #grow(): Branch {
    const own = this.#branches[0];
    if (own === undefined || this.#branches.length > BRANCHES_MAX) {
      throw new DlgforgeError('overloaded', 'an actor has too many children; spawn fewer at a time', {
        details: { childrenMax: OWN_CHILDREN_MAX + BRANCHES_MAX * BRANCH_CHILDREN_MAX },
      });
    }
    const ref = spawnNactBranch(own.ref, `branch.${this.#branches.length}`);
    const branch = { ref, capacity: BRANCH_CHILDREN_MAX, used: 0 };
    this.#branches.push(branch);
    return branch;
  }
}
