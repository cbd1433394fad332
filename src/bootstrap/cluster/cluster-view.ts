/** What a run of the cluster looks like from any node: asked of whoever leads it. */
import type { CallStats } from '../../actors/endpoint-router/call-stats.ts';
import type { EndpointStats } from '../../actors/endpoint-router/endpoint-state.ts';
import type { RouterMessage } from '../../actors/endpoint-router/router-messages.ts';
import { decodeRunView } from '../../actors/decode-messages.ts';
import { coordinatorPath, runSingleton } from '../../actors/directory.ts';
import type { CoordinatorMessage, RunView } from '../../actors/messages.ts';
import { actorRef } from '../../actors/runtime/types.ts';
import { DlgforgeError } from '../../kernel/errors.ts';
import type { RunId } from '../../kernel/ids.ts';
import type { CallFigures } from '../run-report.ts';
import type { ClusterNode } from './join.ts';
import { ROUTER } from './names.ts';

export interface ClusterRunView {
  view(): Promise<RunView>;
  figures(): Promise<CallFigures>;
  /** The latest that `figures` gave. */
  readonly lastFigures: CallFigures;
  /** Asks the leader to end the run as soon as nothing is in flight. May be lost: say it again. */
  stop(): void;
}

const ASK_MS = 3_000;

const NO_CALLS: CallFigures = {
  calls: 0,
  attempts: 0,
  refused: 0,
  retries: { rate_limit: 0, server: 0, connection: 0, timeout: 0, unreadable: 0 },
  promptTokens: 0,
  cachedTokens: 0,
  completionTokens: 0,
  endpoints: [],
};

export function runView({ membership, system }: ClusterNode, runId: RunId): ClusterRunView {
  let lastFigures = NO_CALLS;
  const coordinator = () => {
    const leader = membership.leaderOf(runSingleton(runId));
    if (leader === null)
      throw new DlgforgeError('receiver_gone', `No node leads the run ${runId} now.`, { retryable: true });
    return actorRef<CoordinatorMessage>(leader.node, coordinatorPath(runId));
  };
  const endpoints = async (): Promise<readonly EndpointStats[]> => {
    const leader = membership.leaderOf(ROUTER);
    if (leader === null) return lastFigures.endpoints;
    return await system
      .ask<RouterMessage, readonly EndpointStats[]>(
        actorRef<RouterMessage>(leader.node, ROUTER),
        (replyTo) => ({ type: 'GetStats', runId, replyTo }),
        { timeoutMs: ASK_MS },
      )
      .catch(() => lastFigures.endpoints);
  };
  return {
    view: async () =>
      decodeRunView(
        await system.ask<CoordinatorMessage, RunView>(
          coordinator(),
          (replyTo) => ({ type: 'GetRunView', replyTo }),
          {
            timeoutMs: ASK_MS,
          },
        ),
      ),
    async figures() {
      const stats = await endpoints();
      const counted = membership
        .members()
        .map(({ card }) => (card.status['calls'] as Record<string, CallStats> | undefined)?.[runId])
        .filter((calls) => calls !== undefined);
      lastFigures = { ...counted.reduce<CallStats>(sum, NO_CALLS), endpoints: stats };
      return lastFigures;
    },
    get lastFigures() {
      return lastFigures;
    },
    stop() {
      const leader = membership.leaderOf(runSingleton(runId));
      if (leader !== null) system.tell(coordinator(), { type: 'StopRun' });
    },
  };
}

function sum(a: CallStats, b: CallStats): CallStats {
  const { retries } = b;
  return {
    calls: a.calls + b.calls,
    attempts: a.attempts + b.attempts,
    refused: a.refused + b.refused,
    retries: {
      rate_limit: a.retries.rate_limit + retries.rate_limit,
      server: a.retries.server + retries.server,
      connection: a.retries.connection + retries.connection,
      timeout: a.retries.timeout + retries.timeout,
      unreadable: a.retries.unreadable + retries.unreadable,
    },
    promptTokens: a.promptTokens + b.promptTokens,
    cachedTokens: a.cachedTokens + b.cachedTokens,
    completionTokens: a.completionTokens + b.completionTokens,
  };
}
