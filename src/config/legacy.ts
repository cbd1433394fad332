import { nearestOf } from './keys.ts';
import { RENAMED_KEYS, type RenamedKey } from './legacy-table.ts';
import type { Findings } from './problem.ts';
import {
  isNull,
  nodeAt,
  plainValue,
  putNode,
  shownValue,
  takeNode,
  type MapNode,
  type SourceNode,
} from './source.ts';

/**
 * Moves the keys of 0.1.0 to their places of today, each with one notice. What two keys say about
 * the same thing is decided by the rules of 0.1.0, or refused when it cannot be.
 */
export function translateLegacy(root: MapNode, findings: Findings): void {
  translateTurns(root, findings);
  translateSeedQuestion(root, findings);
  translateLanguage(root, findings);
  translateMode(root, findings);
  for (const renamed of RENAMED_KEYS) translate(root, renamed, findings);
  for (const section of OLD_SECTIONS) clearSection(root, section, findings);
}

/** Sections that only 0.1.0 had. */
const OLD_SECTIONS: readonly string[] = [
  'run.distributed.ray.actor',
  'run.distributed.ray',
  'ray.actor',
  'ray',
  'models',
  'retrieval.chunking',
  'retrieval.index',
  'retrieval.embeddings',
  'retrieval.reranker',
  'retrieval',
  'llm.agents.qa_generator',
  'llm.agents.kb_responder',
  'llm.agents.qa_judge',
];

/** What is left of an old section was never a key of it. */
function clearSection(root: MapNode, path: string, findings: Findings): void {
  const rest = takeNode(root, path);
  if (rest === undefined || isNull(rest)) return;
  const unknown =
    rest.type === 'map'
      ? [...rest.entries].map(([name, node]) => ({ path: `${path}.${name}`, node }))
      : [{ path, node: rest }];
  const known = RENAMED_KEYS.filter(({ from }) => from.startsWith(`${path}.`)).map(({ from }) => from);
  for (const { path: key, node } of unknown) {
    const near = nearestOf(key, known);
    const meant = RENAMED_KEYS.find(({ from }) => from === near)?.to;
    findings.problem(node.origin, `Unknown key \`${key}\`.`, {
      keyPath: key,
      hint:
        meant === undefined
          ? `\`${path}\` is a section of dlgforge 0.1.0; see docs/configuration.md for the keys of today.`
          : `Did you mean \`${meant}\`?`,
    });
  }
}

/** The node at `path` unless it says nothing; out of the tree in both cases. */
function takeSaid(root: MapNode, path: string): SourceNode | undefined {
  const node = takeNode(root, path);
  return node === undefined || saysNothing(node) ? undefined : node;
}

const saysNothing = (node: SourceNode): boolean =>
  isNull(node) || (node.type === 'scalar' && node.text.trim() === '');
const said = (root: MapNode, path: string): SourceNode | undefined => {
  const node = nodeAt(root, path);
  return node === undefined || saysNothing(node) ? undefined : node;
};
const differ = (a: SourceNode, b: SourceNode): boolean =>
  JSON.stringify(plainValue(a)) !== JSON.stringify(plainValue(b));

function translate(root: MapNode, { from, to, wins }: RenamedKey, findings: Findings): void {
  const old = takeSaid(root, from);
  if (old === undefined) return;
  const current = said(root, to);
  if (current === undefined || wins === 'old') putNode(root, to, old);
  deprecate(
    old,
    from,
    to,
    findings,
    current !== undefined && differ(old, current)
      ? ` Both are given: \`${wins === 'old' ? from : to}\` counts.`
      : '',
  );
}

const deprecate = (node: SourceNode, from: string, to: string, findings: Findings, more = ''): void =>
  findings.notice(node.origin, `Deprecated: \`${from}\` is now \`${to}\`.${more}`);

const RANGE = ['min', 'max'] as const;

function translateTurns(root: MapNode, findings: Findings): void {
  const exact = takeSaid(root, 'run.n_turns');
  const ends = RANGE.map((end) => ({ end, node: takeSaid(root, `run.${end}_turns`) }));
  const given = ends.flatMap(({ end, node }) => (node === undefined ? [] : [{ end, node }]));
  if (exact !== undefined) deprecate(exact, 'run.n_turns', 'run.turns.exact', findings);
  for (const { end, node } of given) deprecate(node, `run.${end}_turns`, `run.turns.${end}`, findings);
  if (exact !== undefined && given.length > 0) {
    if (
      repeatsTurns(
        root,
        exact,
        ends.map(({ node }) => node),
      )
    )
      return;
    findings.problem(exact.origin, '`run.n_turns` cannot be combined with `run.min_turns`/`run.max_turns`.', {
      keyPath: 'run.n_turns',
      value: shownValue(exact),
      hint: 'Keep `run.turns` with `mode: exact` and `exact`, or with `mode: range`, `min` and `max`.',
    });
    return;
  }
  if (exact !== undefined) {
    putNode(root, 'run.turns.exact', exact);
    putNode(root, 'run.turns.mode', {
      type: 'scalar',
      value: 'exact',
      text: 'exact',
      plain: false,
      origin: exact.origin,
    });
  }
  for (const { end, node } of given) putNode(root, `run.turns.${end}`, node);
}

/** 0.1.0 wrote old and new keys side by side; then they say the same, and the new ones stay. */
function repeatsTurns(root: MapNode, exact: SourceNode, ends: readonly (SourceNode | undefined)[]): boolean {
  const mode = said(root, 'run.turns.mode');
  const isExact = mode !== undefined && plainValue(mode) === 'exact';
  const wanted = isExact
    ? ['exact', 'exact', 'exact'].map((name) => said(root, `run.turns.${name}`))
    : ['max', 'min', 'max'].map((name) => said(root, `run.turns.${name}`));
  return [exact, ...ends].every((node, index) => {
    const other = wanted[index];
    return node === undefined || (other !== undefined && !differ(node, other));
  });
}

function translateSeedQuestion(root: MapNode, findings: Findings): void {
  const target = 'run.data.seeding.question';
  const [first, second] = ['run.seed_question', 'run.question_seed'].map((from) => ({
    from,
    node: takeSaid(root, from),
  }));
  if (first?.node !== undefined && second?.node !== undefined && differ(first.node, second.node)) {
    findings.problem(second.node.origin, '`run.seed_question` and `run.question_seed` differ.', {
      keyPath: 'run.question_seed',
      hint: `Keep one question, as \`${target}\`.`,
    });
    return;
  }
  for (const old of [first, second]) {
    if (old?.node === undefined) continue;
    const current = said(root, target);
    deprecate(
      old.node,
      old.from,
      target,
      findings,
      current !== undefined && differ(current, old.node) ? ` Both are given: \`${target}\` counts.` : '',
    );
    if (current === undefined) putNode(root, target, old.node);
  }
}

function translateLanguage(root: MapNode, findings: Findings): void {
  const old = takeSaid(root, 'run.target_language');
  if (old === undefined) return;
  const current = said(root, 'run.target_languages');
  const listed = current !== undefined && !(current.type === 'list' && current.items.length === 0);
  if (!listed) putNode(root, 'run.target_languages', { type: 'list', items: [old], origin: old.origin });
  deprecate(
    old,
    'run.target_language',
    'run.target_languages',
    findings,
    listed ? ' Both are given: `run.target_languages` counts.' : '',
  );
}

function translateMode(root: MapNode, findings: Findings): void {
  const mode = takeSaid(root, 'llm.mode');
  if (mode === undefined) return;
  deprecate(mode, 'llm.mode', 'llm.backend', findings);
  const backend = said(root, 'llm.backend');
  if (backend === undefined) putNode(root, 'llm.backend', mode);
  else if (backendName(mode) !== backendName(backend)) {
    findings.problem(mode.origin, '`llm.mode` and `llm.backend` differ.', {
      keyPath: 'llm.mode',
      value: `${shownValue(mode)} and ${shownValue(backend)}`,
      hint: '`llm.mode` is the older name of `llm.backend`: delete it.',
    });
  }
}

function backendName(node: SourceNode): string {
  const name = String(plainValue(node)).trim().toLowerCase();
  return name === 'api' ? 'openai' : name;
}
