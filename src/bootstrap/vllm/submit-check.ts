/** Whether the nodes of a cluster can run the servers of a run, asked before it is submitted. */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  decodeHostReply,
  decodeHostReport,
  type HostMessage,
  type HostReply,
  type HostReport,
  vllmHostRef,
} from '../../actors/vllm/host-messages.ts';
import type { Config } from '../../config/schema.ts';
import { DlgforgeError } from '../../kernel/errors.ts';
import type { RunId } from '../../kernel/ids.ts';
import type { ClusterNode } from '../cluster/join.ts';
import { wantedReplicas } from './replica-order.ts';
import { lacksRoom } from './room.ts';

/** A node that starts together with the run is there by then. */
const WAIT_MS = 5_000;
const LOOK_MS = 250;
const ASK_MS = 3_000;

/** @throws DlgforgeError `endpoint` that says what there is, when that is not enough. */
export async function checkNodesForServers(
  node: ClusterNode,
  config: Config,
  runId: RunId,
  stop: AbortSignal,
): Promise<void> {
  const wanted = wantedReplicas(config, runId, null);
  const deadlineMs = Date.now() + WAIT_MS;
  for (;;) {
    const { reports, refusals } = await ask(node, config);
    const lack = lacksRoom(wanted, reports);
    if (lack === null || stop.aborted) return;
    if (Date.now() >= deadlineMs) throw withRefusals(lack, reports, refusals);
    await sleep(LOOK_MS);
  }
}

function withRefusals(
  lack: DlgforgeError,
  reports: readonly HostReport[],
  refusals: readonly string[],
): DlgforgeError {
  if (refusals.length === 0) return lack;
  const what = reports.length === 0 ? 'No node of the cluster can start the vLLM servers:' : lack.message;
  return new DlgforgeError('endpoint', [what, ...refusals.map((line) => `  ${line}`)].join('\n'));
}

/** What the nodes offer that can start the program, and what the others say. */
async function ask(
  { system, membership }: ClusterNode,
  config: Config,
): Promise<{ readonly reports: readonly HostReport[]; readonly refusals: readonly string[] }> {
  const refusals: string[] = [];
  const reports: HostReport[] = [];
  const agents = membership.members().filter(({ card }) => card.kind === 'agent');
  await Promise.all(
    agents.map(async ({ card: { node } }) => {
      const ref = vllmHostRef(node);
      try {
        const able = decodeHostReply(
          await system.ask<HostMessage, HostReply>(
            ref,
            (replyTo) => ({ type: 'LookFor', program: config.llm.vllm.command.trim() || 'vllm', replyTo }),
            { timeoutMs: ASK_MS },
          ),
        );
        if (able.type === 'refused') refusals.push(`${node}: ${able.reason}`);
        else
          reports.push(
            decodeHostReport(
              await system.ask<HostMessage, HostReport>(
                ref,
                (replyTo) => ({ type: 'ListReplicas', replyTo }),
                { timeoutMs: ASK_MS },
              ),
            ),
          );
      } catch {
        // It is asked again until it is late.
      }
    }),
  );
  return { reports, refusals };
}
