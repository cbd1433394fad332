/** What is only found out when somebody looks. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { EndpointStats } from '../../actors/endpoint-router/endpoint-state.ts';
import type { ActorInfo, ActorSystem } from '../../actors/runtime/types.ts';
import { type MetricSource, type Sample, sample } from '../../kernel/metrics.ts';
import type { Membership } from '../../ports/membership.ts';
import type { QueueCounts } from '../../ports/work-queue.ts';

const CONVERSATION = 'conversation';

/** @param refusedBefore arrivals that did not get as far as the actors' door */
export function actorSource(system: ActorSystem, refusedBefore: () => number = () => 0): MetricSource {
  return () => {
    const kinds = new Map<string, { actors: number; waiting: number; fullest: number }>();
    for (const { kind, mailboxLength } of system.tree()) count(kinds, kind, mailboxLength);
    const samples: Sample[] = [
      sample('dlgforge_asks_pending', system.pendingAskCount),
      sample('dlgforge_envelopes_refused_total', system.refusedEnvelopeCount + refusedBefore()),
      sample('dlgforge_conversations_open', kinds.get(CONVERSATION)?.actors ?? 0),
    ];
    for (const [kind, { actors, waiting, fullest }] of kinds)
      samples.push(
        sample('dlgforge_actors', actors, { kind }),
        sample('dlgforge_mailbox_depth', waiting, { kind }),
        sample('dlgforge_mailbox_depth_max', fullest, { kind }),
      );
    return samples;
  };
}

function count(
  kinds: Map<string, { actors: number; waiting: number; fullest: number }>,
  kind: ActorInfo['kind'],
  mailboxLength: number,
): void {
  let known = kinds.get(kind);
  if (known === undefined) {
    known = { actors: 0, waiting: 0, fullest: 0 };
    kinds.set(kind, known);
  }
  known.actors += 1;
  known.waiting += mailboxLength;
  known.fullest = Math.max(known.fullest, mailboxLength);
}

/** Only where the router lives: it knows the load of the whole cluster, which is told once. */
export function endpointSource(stats: () => Promise<readonly EndpointStats[]>): MetricSource {
  const states: readonly EndpointStats['state'][] = ['open_for_traffic', 'paused', 'sick'];
  return async () =>
    (await stats()).flatMap(({ endpoint, inFlight, waiting, limit, state }) => [
      sample('dlgforge_endpoint_in_flight', inFlight, { endpoint }),
      sample('dlgforge_endpoint_waiting', waiting, { endpoint }),
      sample('dlgforge_endpoint_limit', limit, { endpoint }),
      ...states.map((each) =>
        sample('dlgforge_endpoint_state', each === state ? 1 : 0, { endpoint, state: each }),
      ),
    ]);
}

export function membershipSource(membership: Membership): MetricSource {
  return () => {
    const kinds = new Map<string, number>();
    for (const { card } of membership.members()) kinds.set(card.kind, (kinds.get(card.kind) ?? 0) + 1);
    return [
      sample('dlgforge_in_contact', membership.inContact() ? 1 : 0),
      ...[...kinds].map(([kind, members]) => sample('dlgforge_members', members, { kind })),
    ];
  };
}

/** Only where the router lives: how much waits is the same whoever asks the queue's server. */
export function queueSource(read: () => Promise<QueueCounts>): MetricSource {
  return async () => {
    const { waiting, redelivered } = await read();
    return [sample('dlgforge_queue_pending', waiting), sample('dlgforge_queue_redelivered', redelivered)];
  };
}

/** The process itself. `stop` ends the watch over the event loop. */
export function processSource(build: { readonly version: string; readonly nodeKind: string }): {
  readonly read: MetricSource;
  stop(): void;
} {
  const lag = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS });
  lag.enable();
  return {
    read() {
      const { user, system } = process.cpuUsage();
      const { rss, heapUsed } = process.memoryUsage();
      const { version, nodeKind } = build;
      return [
        sample('dlgforge_build_info', 1, { version, node_kind: nodeKind }),
        sample('dlgforge_process_cpu_seconds_total', user / 1e6, { mode: 'user' }),
        sample('dlgforge_process_cpu_seconds_total', system / 1e6, { mode: 'system' }),
        sample('dlgforge_process_resident_bytes', rss),
        sample('dlgforge_process_heap_bytes', heapUsed),
        sample('dlgforge_process_uptime_seconds', process.uptime()),
        ...lagSamples(lag),
      ];
    },
    stop: () => lag.disable(),
  };
}

const LAG_RESOLUTION_MS = 20;

/** Since the last look. The watch ticks every `LAG_RESOLUTION_MS`, and what it measures includes that pause. */
function lagSamples(lag: ReturnType<typeof monitorEventLoopDelay>): Sample[] {
  const seconds = (nanoseconds: number): number =>
    Number.isFinite(nanoseconds) ? Math.max(0, nanoseconds / 1e6 - LAG_RESOLUTION_MS) / 1000 : 0;
  const samples = [
    sample('dlgforge_event_loop_lag_seconds', seconds(lag.mean), { of: 'mean' }),
    sample('dlgforge_event_loop_lag_seconds', seconds(lag.percentile(99)), { of: 'p99' }),
    sample('dlgforge_event_loop_lag_seconds', lag.count === 0 ? 0 : seconds(lag.max), { of: 'max' }),
  ];
  lag.reset();
  return samples;
}
