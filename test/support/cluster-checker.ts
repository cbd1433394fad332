/**
 * Decides, from what is written down and not from what a run says of itself, whether a cluster kept its
 * promises: the journals, the commits and the events with their epochs, and the model endpoint's own log.
 *
 * Pure: each rule takes facts and gives the ways in which they are broken, in words; none is a pass.
 */
import { compareRanks } from '../../src/dialogue/schedule.ts';
import { questionKey } from '../../src/dialogue/question-key.ts';
import type { LogEntry } from '../../src/llm/rehearsal/request-entry.ts';

export interface JournalFact {
  readonly id: string;
  readonly seq: number;
  readonly epoch: number;
  readonly atMs: number;
  readonly type: string;
  /** The endpoint's key of the request whose answer this holds. */
  readonly answerKey: string | null;
}

export interface CommitFact {
  readonly commitSeq: number;
  readonly epoch: number;
  readonly languageIndex: number;
  readonly index: number;
  readonly language: string;
  readonly conversationId: string;
  readonly status: 'committed' | 'dropped';
  readonly questions: readonly string[];
}

export interface SettledFact {
  readonly languageIndex: number;
  readonly index: number;
  readonly commitSeq: number;
}

export interface EventFact {
  readonly seq: number;
  readonly epoch: number;
  readonly type: string;
  readonly settled: SettledFact | null;
}

export interface RunFacts {
  /** In order of (id, seq). */
  readonly journal: readonly JournalFact[];
  /** In order of commitSeq. */
  readonly commits: readonly CommitFact[];
  /** In order of seq. */
  readonly events: readonly EventFact[];
  readonly requests: readonly LogEntry[];
}

export interface Promised {
  readonly languages: readonly string[];
  readonly samples: number;
  readonly maxInFlight: number;
  /** Processes that hold calls and were killed or frozen. */
  readonly disruptions: number;
}

/** Every broken promise, the worst first. */
export function brokenPromises(facts: RunFacts, promised: Promised): string[] {
  return [
    ...twoWriters(facts),
    ...lostOrDoubled(facts, promised),
    ...outOfOrder(facts.commits),
    ...paidTwice(facts),
    ...tooMuchWasted(facts, promised),
    ...tooManyOpen(facts.requests, promised.maxInFlight),
    ...eventsUntrue(facts),
  ];
}

/** I2: what is written under an older epoch never comes after what was written under a newer one. */
export function twoWriters({ journal, commits, events }: Omit<RunFacts, 'requests'>): string[] {
  const rows = [
    ...journal.map(({ id, seq, epoch }) => ({ log: id, seq, epoch })),
    ...commits.map(({ commitSeq, epoch }) => ({ log: 'commits', seq: commitSeq, epoch })),
    ...events.map(({ seq, epoch }) => ({ log: 'events', seq, epoch })),
  ];
  const last = new Map<string, number>();
  const broken: string[] = [];
  for (const { log, seq, epoch } of rows) {
    const before = last.get(log) ?? 0;
    if (epoch < before)
      broken.push(`two writers: ${log} has epoch ${epoch} at ${seq}, after epoch ${before}`);
    last.set(log, Math.max(before, epoch));
  }
  return broken;
}

/** Exact counts, nothing that was accepted is missing, nothing is there twice. */
export function lostOrDoubled({ journal, commits }: RunFacts, { languages, samples }: Promised): string[] {
  const committed = commits.filter(({ status }) => status === 'committed');
  const counts = languages.map(
    (language) => committed.filter((commit) => commit.language === language).length,
  );
  return [
    ...languages.flatMap((language, i) =>
      counts[i] === samples ? [] : [`${language} has ${counts[i]} conversations, wanted are ${samples}`],
    ),
    ...holes(
      'commits',
      commits.map(({ commitSeq }) => commitSeq),
    ),
    ...[...Map.groupBy(journal, ({ id }) => id)].flatMap(([id, rows]) =>
      holes(
        id,
        rows.map(({ seq }) => seq),
      ),
    ),
    ...twice(
      'conversation id',
      commits.map(({ conversationId }) => conversationId),
    ),
    ...twice(
      'rank',
      commits.map(({ languageIndex, index }) => `${languageIndex}/${index}`),
    ),
    ...twice('question', committed.flatMap(({ questions }) => questions).map(questionKey)),
  ];
}

/** Commits are in rank order, so the dataset does not depend on who was quick. */
export function outOfOrder(commits: readonly CommitFact[]): string[] {
  return commits.flatMap((commit, i) => {
    const before = commits[i - 1];
    if (before === undefined || compareRanks(before, commit) < 0) return [];
    return [`${commit.conversationId} is committed after ${before.conversationId}, which comes later`];
  });
}

/** The store's clock and the endpoint's are one machine's, read in different units. */
const CLOCK_MS = 1;

/** I1: a request whose answer was durable does not arrive again. */
export function paidTwice({ journal, requests }: Pick<RunFacts, 'journal' | 'requests'>): string[] {
  const durable = new Map<string, JournalFact>();
  for (const fact of journal) {
    const { answerKey, atMs } = fact;
    if (answerKey !== null && atMs < (durable.get(answerKey)?.atMs ?? Infinity)) durable.set(answerKey, fact);
  }
  return requests.flatMap(({ event, key, at_ms, arrival }) => {
    const kept = durable.get(key);
    if (event !== 'arrival' || kept === undefined || at_ms <= kept.atMs + CLOCK_MS) return [];
    return [
      `paid again: ${key} arrived for the ${arrival}. time at ${time(at_ms)}; its answer was durable at ${time(kept.atMs)} (${kept.id} ${kept.seq}, epoch ${kept.epoch})`,
    ];
  });
}

const time = (ms: number): string => new Date(ms).toISOString().slice(11, 23);

/** Answers that the endpoint gave and that no journal has. */
export function wastedCalls({ journal, requests }: Pick<RunFacts, 'journal' | 'requests'>): string[] {
  const kept = Map.groupBy(
    journal.flatMap(({ answerKey }) => (answerKey === null ? [] : [answerKey])),
    (key) => key,
  );
  const given = Map.groupBy(
    requests.filter(({ event, status }) => event === 'completion' && status === 200),
    ({ key }) => key,
  );
  return [...given].flatMap(([key, answers]) =>
    Array.from({ length: Math.max(0, answers.length - (kept.get(key)?.length ?? 0)) }, () => key),
  );
}

export function tooMuchWasted(facts: RunFacts, { disruptions, maxInFlight }: Promised): string[] {
  const wasted = wastedCalls(facts).length;
  const most = disruptions * maxInFlight;
  return wasted <= most
    ? []
    : [`${wasted} answers were wasted; at most ${most} were in flight when something died`];
}

/** I7, by the endpoint's own count. */
export function tooManyOpen(requests: readonly LogEntry[], maxInFlight: number): string[] {
  const most = Math.max(0, ...requests.map(({ in_flight }) => in_flight));
  return most <= maxInFlight ? [] : [`${most} requests were open at once, allowed are ${maxInFlight}`];
}

/** Without gaps, and each settled conversation once, as the commit table has it. */
export function eventsUntrue({ events, commits }: Pick<RunFacts, 'events' | 'commits'>): string[] {
  const name = ({ languageIndex, index, commitSeq }: SettledFact): string =>
    `${languageIndex}/${index} at ${commitSeq}`;
  const told = events.flatMap(({ settled }) => (settled === null ? [] : [name(settled)]));
  const known = new Set(commits.map(name));
  const heard = new Set(told);
  return [
    ...holes(
      'events',
      events.map(({ seq }) => seq),
    ),
    ...twice('settled event', told),
    ...told
      .filter((each) => !known.has(each))
      .map((each) => `the events tell of ${each}, which is not committed`),
    ...[...known].filter((each) => !heard.has(each)).map((each) => `no event tells of ${each}`),
    ...(events.at(-1)?.type === 'RunEnded' ? [] : [`the last event is ${events.at(-1)?.type ?? 'missing'}`]),
  ];
}

/** Files that differ, by name; `expected` and `found` are texts without times. */
export function differingFiles(
  expected: ReadonlyMap<string, string>,
  found: ReadonlyMap<string, string>,
): string[] {
  const names = new Set([...expected.keys(), ...found.keys()]);
  return [...names].flatMap((name) => {
    const [a, b] = [expected.get(name), found.get(name)];
    if (a === b) return [];
    if (a === undefined || b === undefined) return [`${name} is ${a === undefined ? 'new' : 'missing'}`];
    const [left, right] = [a.split('\n'), b.split('\n')];
    const line = left.findIndex((text, i) => text !== right[i]);
    return [
      `${name} differs in line ${line + 1}: ${left[line]?.slice(0, 200)} | ${right[line]?.slice(0, 200)}`,
    ];
  });
}

const holes = (what: string, seqs: readonly number[]): string[] =>
  seqs.flatMap((seq, i) => (seq === i + 1 ? [] : [`${what}: number ${i + 1} is ${seq}`])).slice(0, 1);

function twice(what: string, values: readonly string[]): string[] {
  const seen = new Set<string>();
  return values.flatMap((value) => {
    if (seen.has(value)) return [`${what} ${value} is there twice`];
    seen.add(value);
    return [];
  });
}
