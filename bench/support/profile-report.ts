/**
 * Reads a V8 CPU profile and says where the time went: `node bench/support/profile-report.ts x.cpuprofile [depth]`.
 * Self time by module, and by function with the module that it belongs to.
 */
import { readFileSync } from 'node:fs';

interface Node {
  readonly id: number;
  readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  readonly children?: readonly number[];
}
interface Profile {
  readonly nodes: readonly Node[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

const profile = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as Profile;
const rows = Number(process.argv[3] ?? 25);
const byId = new Map(profile.nodes.map((node) => [node.id, node]));
const parentOf = new Map<number, number>();
for (const node of profile.nodes) for (const child of node.children ?? []) parentOf.set(child, node.id);
const byCaller = new Map<string, number>();
const byModule = new Map<string, number>();
const byFunction = new Map<string, number>();
let total = 0;

function moduleOf(url: string): string {
  const dependency = /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url);
  if (dependency) return dependency[1] ?? url;
  const own = /\/(src|bench)\/(.*)$/.exec(url);
  if (own) return `${own[1]}/${own[2]}`;
  return url.startsWith('node:') ? url : url === '' ? '(native)' : url;
}

/** The nearest function of ours up the stack: what libraries and the engine did is put down to who asked for it. */
function ownCaller(id: number): string {
  for (let at: number | undefined = id; at !== undefined; at = parentOf.get(at)) {
    const frame = byId.get(at)?.callFrame;
    if (frame !== undefined && /\/src\//.test(frame.url) && !frame.url.includes('node_modules'))
      return `${frame.functionName || '(anonymous)'} ${moduleOf(frame.url)}:${frame.lineNumber + 1}`;
  }
  const frame = byId.get(id)?.callFrame;
  return `(outside) ${frame === undefined ? '' : moduleOf(frame.url)} ${frame?.url === '' ? frame.functionName : ''}`;
}

profile.samples.forEach((id, position) => {
  const frame = byId.get(id)?.callFrame;
  const delta = profile.timeDeltas[position] ?? 0;
  if (frame === undefined || frame.functionName === '(idle)') return;
  total += delta;
  const name = moduleOf(frame.url);
  byModule.set(name, (byModule.get(name) ?? 0) + delta);
  const caller = ownCaller(id);
  byCaller.set(caller, (byCaller.get(caller) ?? 0) + delta);
  const label = `${frame.functionName || '(anonymous)'} ${name}:${frame.lineNumber + 1}`;
  byFunction.set(label, (byFunction.get(label) ?? 0) + delta);
});

for (const [title, times] of [
  ['nearest function of ours, with what it called outside', byCaller],
  ['module, self', byModule],
  ['function, self', byFunction],
] as const) {
  process.stdout.write(`\n${title} ( ms, of ${(total / 1000).toFixed(0)})\n`);
  for (const [name, time] of [...times].sort((a, b) => b[1] - a[1]).slice(0, rows)) {
    process.stdout.write(
      `${(time / 1000).toFixed(0).padStart(7)}  ${((time / total) * 100).toFixed(1).padStart(5)} %  ${name}\n`,
    );
  }
}
