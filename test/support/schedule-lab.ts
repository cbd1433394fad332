/**
 * A whole run on the pure machine: schedule, claims, validity rule and the conversations themselves, with
 * the order of everything decided by the test. No actors, no I/O.
 */
import { createClaims } from '../../src/dialogue/claims.ts';
import {
  type ConversationCommand,
  decide,
  type DialogueContext,
  type Effect,
  effectsOf,
} from '../../src/dialogue/conversation.ts';
import {
  type ConversationEvent,
  type ConversationState,
  initialConversation,
} from '../../src/dialogue/conversation-state.ts';
import { evolve } from '../../src/dialogue/evolve-conversation.ts';
import { questionedTurns } from '../../src/dialogue/payload.ts';
import { questionKey } from '../../src/dialogue/question-key.ts';
import {
  compareRanks,
  createSchedule,
  type LaneStart,
  type Rank,
  type Schedule,
  type ScheduleLimits,
} from '../../src/dialogue/schedule.ts';
import { keysOf, validate } from '../../src/dialogue/validity.ts';
import { answerOf, type Script, throughJson } from './scripted-dialogue.ts';

export interface LabOptions {
  readonly context: DialogueContext;
  readonly target: number;
  readonly limits: ScheduleLimits;
  readonly question: (rank: Rank, turn: number, attempt: number) => string;
}

export interface LabRow {
  readonly rank: Rank;
  readonly outcome: string;
  /** Questions of the attempts of every turn. */
  readonly turns: readonly (readonly string[])[];
}

interface Open {
  readonly rank: Rank;
  state: ConversationState;
  events: ConversationEvent[];
  effects: Effect[];
  /** The last command, which may come again. */
  last: ConversationCommand | null;
  /** What the look-up for the open question check found, once it was made. */
  lookedUp: boolean | null;
  handedOver: boolean;
}

const nameOf = (rank: Rank): string => `${rank.index}/${rank.languageIndex}`;

export class ScheduleLab {
  readonly rows: LabRow[] = [];
  readonly committedKeys = new Set<string>();
  /** Model calls, by conversation and request key. */
  readonly paid = new Map<string, number>();
  sentBack = 0;
  revisionsMax = 0;
  readonly #options: LabOptions;
  readonly #script: Script;
  #schedule: Schedule;
  #claims = createClaims();
  #open = new Map<string, Open>();
  /** Journals outlive crashes. */
  #journals = new Map<string, ConversationEvent[]>();

  constructor(options: LabOptions) {
    this.#options = options;
    this.#script = { question: ({ key }, turn, attempt) => options.question(key, turn, attempt) };
    this.#schedule = this.#newSchedule();
  }

  get done(): boolean {
    return this.#schedule.done;
  }

  get progress(): ReturnType<Schedule['progress']> {
    return this.#schedule.progress();
  }

  /** Does one thing that could happen now; false when nothing can. */
  step(choice: number): boolean {
    const acts: (() => void)[] = [];
    for (const open of this.#open.values()) {
      for (const effect of open.effects)
        if (effect.type !== 'HandOver' || !open.handedOver) acts.push(() => this.#carryOut(open, effect));
    }
    const first = this.#schedule.frontier();
    const next = first === null ? undefined : this.#open.get(nameOf(first));
    if (next?.handedOver === true) acts.push(() => this.#commitNext(next));
    const admitted = choice % 3 === 0 || acts.length === 0 ? this.#schedule.admit() : null;
    if (admitted !== null) {
      this.#admit(admitted);
      return true;
    }
    acts[Math.floor(choice / 3) % Math.max(1, acts.length)]?.();
    return acts.length > 0;
  }

  /** Delivers the last command of some conversation again. */
  repeat(choice: number): void {
    const all = [...this.#open.values()];
    const open = all[choice % Math.max(1, all.length)];
    if (open?.last !== undefined && open.last !== null) this.#obey(open, open.last);
  }

  /** Everything in memory is lost; commits and journals stay. */
  crash(): void {
    this.#open.clear();
    this.#claims = createClaims();
    this.#schedule = this.#newSchedule();
  }

  #newSchedule(): Schedule {
    const { context, target, limits } = this.#options;
    const starts = context.settings.languages.map((_, languageIndex): LaneStart => {
      const own = this.rows.filter((row) => row.rank.languageIndex === languageIndex);
      const lastGood = own.findLastIndex((row) => row.outcome === 'committed');
      const committed = own.filter((row) => row.outcome === 'committed').length;
      return {
        target,
        committed,
        dropped: own.length - committed,
        consecutiveDrops: own.length - 1 - lastGood,
        nextIndex: own.length,
      };
    });
    return createSchedule(
      starts,
      limits,
      (rank) => context.planner.conversation(rank.languageIndex, rank.index).turnCount,
    );
  }

  #admit(rank: Rank): void {
    const events = this.#journals.get(nameOf(rank)) ?? [];
    this.#journals.set(nameOf(rank), events);
    const state = throughJson(events).reduce(evolve, initialConversation({ runId: 'R', ...rank }));
    const open: Open = { rank, state, events, effects: [], last: null, lookedUp: null, handedOver: false };
    this.#open.set(nameOf(rank), open);
    if (state.stage.type === 'new') this.#obey(open, { type: 'StartConversation' });
    else open.effects = effectsOf(state, this.#options.context);
  }

  #obey(open: Open, command: ConversationCommand): void {
    const { context } = this.#options;
    const events = decide(open.state, command, context);
    open.last = command;
    if (events.length === 0) return;
    open.state = events.reduce(evolve, open.state);
    open.events.push(...events);
    open.effects = effectsOf(open.state, context);
    open.lookedUp = null;
  }

  #carryOut(open: Open, effect: Effect): void {
    switch (effect.type) {
      case 'HandOver':
        open.handedOver = true;
        return this.#schedule.setFinished(open.rank, true);
      case 'CheckQuestion': {
        // As in the committer: the look-up is made first, the answer is given later.
        if (open.lookedUp === null) {
          open.lookedUp = this.committedKeys.has(effect.questionKey);
          return;
        }
        const guess = (): 'new' | 'claim' =>
          this.#claims.claim(open.rank, effect.questionKey) === null ? 'new' : 'claim';
        return this.#obey(open, {
          type: 'TakeQuestionCheck',
          step: effect.step,
          finding: open.lookedUp ? 'committed' : guess(),
        });
      }
      default: {
        const command = answerOf(open.state, effect, this.#script, open.events);
        if (command.type === 'TakeAnswer' && command.reusedSeq === null) {
          const key = `${nameOf(open.rank)} ${command.asked.requestKey}`;
          this.paid.set(key, (this.paid.get(key) ?? 0) + 1);
        }
        return this.#obey(open, command);
      }
    }
  }

  #commitNext(open: Open): void {
    const turns = questionedTurns(open.state);
    const known = new Set(keysOf(turns).filter((key) => this.committedKeys.has(key)));
    const found = validate(turns, (key) => known.has(key));
    this.#claims.release(open.rank);
    open.handedOver = false;
    if (found.type === 'wrong_guess') {
      this.sentBack += 1;
      this.#schedule.setFinished(open.rank, false);
      this.#obey(open, { ...found, type: 'SendBack' });
      this.revisionsMax = Math.max(this.revisionsMax, open.state.revision);
      return;
    }
    this.#commit(open);
  }

  #commit(open: Open): void {
    const { stage, turns, droppedIn } = open.state;
    if (stage.type !== 'ready') throw new Error(`committed while ${stage.type}`);
    const { outcome } = stage;
    const last = this.rows.at(-1);
    if (last !== undefined && compareRanks(last.rank, open.rank) >= 0)
      throw new Error(`${nameOf(open.rank)} after ${nameOf(last.rank)}`);
    if (outcome.type === 'finished') {
      for (const turn of turns) {
        const key = turn.attempts.at(-1)?.questionKey ?? '';
        if (this.committedKeys.has(key)) throw new Error('a question was committed twice (I4)');
        this.committedKeys.add(key);
      }
    }
    const asked = [...turns, ...(droppedIn === null ? [] : [droppedIn])];
    this.rows.push({
      rank: open.rank,
      outcome: outcome.type === 'finished' ? 'committed' : outcome.reason,
      turns: asked.map((turn) => turn.attempts.map((attempt) => attempt.question?.user_message ?? '')),
    });
    this.#obey(open, { type: 'SettleConversation' });
    this.#open.delete(nameOf(open.rank));
    this.#schedule.settle(open.rank, outcome.type === 'finished' ? 'committed' : 'dropped');
    for (const left of this.#open.values()) {
      if (this.#schedule.progress()[left.rank.languageIndex]?.ended !== null)
        this.#open.delete(nameOf(left.rank));
    }
  }
}

/** What ARCHITECTURE.md, "Commit in rank order" says a dataset is, written down once more without any of the code above. */
export function sequentialDataset({ context, target, limits, question }: LabOptions): LabRow[] {
  const { languages, coverage } = context.settings;
  const committed = new Set<string>();
  const rows: LabRow[] = [];
  const lanes = languages.map(() => ({ committed: 0, dropsInARow: 0 }));
  const isOpen = (lane: { committed: number; dropsInARow: number }): boolean =>
    lane.committed < target && lane.dropsInARow < limits.consecutiveDropsMax;
  for (let index = 0; lanes.some(isOpen); index += 1) {
    for (const [languageIndex, lane] of lanes.entries()) {
      if (!isOpen(lane)) continue;
      const rank = { index, languageIndex };
      const { turnCount } = context.planner.conversation(languageIndex, index);
      const own = new Set<string>();
      const turns: string[][] = [];
      let isDropped = false;
      for (let turn = 1; turn <= turnCount && !isDropped; turn += 1) {
        const asked: string[] = [];
        for (let attempt = 0; attempt <= coverage.dedupRetries; attempt += 1) {
          const text = question(rank, turn, attempt);
          asked.push(text);
          const key = questionKey(text);
          isDropped = committed.has(key) || own.has(key);
          if (!isDropped) {
            own.add(key);
            break;
          }
        }
        turns.push(asked);
      }
      rows.push({ rank, outcome: isDropped ? 'dedup_exhausted' : 'committed', turns });
      lane.dropsInARow = isDropped ? lane.dropsInARow + 1 : 0;
      if (isDropped) continue;
      lane.committed += 1;
      for (const key of own) committed.add(key);
    }
  }
  return rows;
}
