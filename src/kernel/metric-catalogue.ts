/**
 * Every metric that a node can serve: docs/metrics.md is this table in words, and a test compares the two.
 * Labels have few values each. Nothing names a conversation, a document or a person.
 */
export type MetricSpec =
  | { readonly type: 'counter' | 'gauge'; readonly labels: readonly string[]; readonly help: string }
  | {
      readonly type: 'histogram';
      readonly labels: readonly string[];
      readonly help: string;
      /** Upper bounds in seconds, ascending; what is above the last one is counted too. */
      readonly buckets: readonly number[];
    };

/** A handler that does no I/O takes microseconds; one that waits for the store or a model takes seconds. */
const HANDLER_BUCKETS = [0.000_01, 0.000_1, 0.001, 0.01, 0.1, 1, 10, 60] as const;
const STORE_BUCKETS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5, 30] as const;
const WAIT_BUCKETS = [0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30, 120, 600] as const;
const MODEL_BUCKETS = [0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600] as const;

export const METRIC_CATALOGUE = {
  // Actors
  dlgforge_actors: { type: 'gauge', labels: ['kind'], help: 'Living actors.' },
  dlgforge_mailbox_depth: {
    type: 'gauge',
    labels: ['kind'],
    help: 'Messages that wait in the mailboxes of all actors of a kind.',
  },
  dlgforge_mailbox_depth_max: {
    type: 'gauge',
    labels: ['kind'],
    help: 'Messages that wait in the fullest mailbox of a kind.',
  },
  dlgforge_handler_seconds: {
    type: 'histogram',
    labels: ['kind'],
    help: 'Time from taking a message to the end of its handler, waits included.',
    buckets: HANDLER_BUCKETS,
  },
  dlgforge_actor_restarts_total: {
    type: 'counter',
    labels: ['kind', 'reason'],
    help: 'Restarts of actors, by the code of the error.',
  },
  dlgforge_actors_given_up_total: {
    type: 'counter',
    labels: ['kind', 'reason'],
    help: 'Actors that failed once too often, or lost their hold, and stay down.',
  },
  dlgforge_dead_letters_total: {
    type: 'counter',
    labels: ['reason'],
    help: 'Messages that reached nobody.',
  },
  dlgforge_asks_pending: { type: 'gauge', labels: [], help: 'Asks that wait for their answer.' },
  dlgforge_asks_timed_out_total: {
    type: 'counter',
    labels: [],
    help: 'Asks that nobody answered before their deadline.',
  },
  dlgforge_envelopes_refused_total: {
    type: 'counter',
    labels: [],
    help: 'Arrivals from other nodes that were malformed, too big or of another protocol.',
  },

  // Store
  dlgforge_lease_epoch: {
    type: 'gauge',
    labels: ['singleton'],
    help: 'Epoch of each lease that this process holds.',
  },
  dlgforge_fenced_writes_total: {
    type: 'counter',
    labels: ['operation'],
    help: 'Writes that the database refused because another holder has taken over.',
  },
  dlgforge_journal_append_seconds: {
    type: 'histogram',
    labels: [],
    help: 'Time from asking for an append to its being durable.',
    buckets: STORE_BUCKETS,
  },
  dlgforge_journal_events_total: { type: 'counter', labels: [], help: 'Events that were made durable.' },
  dlgforge_journal_recover_seconds: {
    type: 'histogram',
    labels: [],
    help: 'Time to take the hold of a journal and read it.',
    buckets: STORE_BUCKETS,
  },
  dlgforge_commit_seconds: {
    type: 'histogram',
    labels: [],
    help: 'Time of a commit transaction.',
    buckets: STORE_BUCKETS,
  },
  dlgforge_store_failures_total: {
    type: 'counter',
    labels: ['operation', 'reason'],
    help: 'Store operations that failed otherwise, by the code of the error.',
  },

  // Work
  dlgforge_conversations_open: { type: 'gauge', labels: [], help: 'Conversations in the works here.' },
  dlgforge_conversations_total: {
    type: 'counter',
    labels: ['outcome'],
    help: 'Commits by outcome: committed, dropped, or duplicate (sent back, nothing written).',
  },
  dlgforge_queue_pending: {
    type: 'gauge',
    labels: [],
    help: 'Work items that wait for a worker, as the queue says.',
  },
  dlgforge_queue_in_hand: { type: 'gauge', labels: [], help: 'Work items in the hands of this process.' },
  dlgforge_queue_published_total: {
    type: 'counter',
    labels: ['again'],
    help: 'Work items published; again=yes when whoever had them is gone.',
  },
  dlgforge_queue_deliveries_total: {
    type: 'counter',
    labels: ['end'],
    help: 'Deliveries taken here, by end: acked, released or forgotten.',
  },
  dlgforge_queue_redelivered: {
    type: 'gauge',
    labels: [],
    help: 'Work items out that had been delivered before, as the queue says.',
  },

  // Models
  dlgforge_endpoint_in_flight: { type: 'gauge', labels: ['endpoint'], help: 'Requests in flight.' },
  dlgforge_endpoint_waiting: {
    type: 'gauge',
    labels: ['endpoint'],
    help: 'Requests that wait and may go to it.',
  },
  dlgforge_endpoint_limit: {
    type: 'gauge',
    labels: ['endpoint'],
    help: 'Requests that it is given at present.',
  },
  dlgforge_endpoint_state: {
    type: 'gauge',
    labels: ['endpoint', 'state'],
    help: '1 for the state it is in: open_for_traffic, paused or sick.',
  },
  dlgforge_permits_waiting: {
    type: 'gauge',
    labels: ['role'],
    help: 'Calls of this process that wait for an endpoint.',
  },
  dlgforge_permit_wait_seconds: {
    type: 'histogram',
    labels: ['role'],
    help: 'Time from asking for an endpoint to the answer of the router.',
    buckets: WAIT_BUCKETS,
  },
  dlgforge_model_calls_total: {
    type: 'counter',
    labels: ['endpoint', 'outcome'],
    help: 'Requests by outcome: answered, retry_later, refused, unusable or cancelled; `elsewhere` where none was sent, because the endpoint is not known here.',
  },
  dlgforge_model_call_seconds: {
    type: 'histogram',
    labels: ['role'],
    help: 'Time from sending a request to its whole answer; answered ones only.',
    buckets: MODEL_BUCKETS,
  },
  dlgforge_model_tokens_total: {
    type: 'counter',
    labels: ['role', 'kind'],
    help: 'Tokens as the servers report them: prompt (cached ones included), cached, completion.',
  },
  dlgforge_answers_kept_late_total: {
    type: 'counter',
    labels: [],
    help: 'Answers that came when nobody waited for them any more; kept in case they are asked for again.',
  },
  dlgforge_answers_reused_total: {
    type: 'counter',
    labels: [],
    help: 'Calls that were not made because the journal had the answer.',
  },
  dlgforge_tokens_wasted_total: {
    type: 'counter',
    labels: ['kind', 'cause'],
    help: 'Tokens of answers that were paid for and not used: late, unusable or fenced.',
  },

  // Cluster
  dlgforge_members: {
    type: 'gauge',
    labels: ['kind'],
    help: 'Members of the cluster, as this node sees it.',
  },
  dlgforge_in_contact: {
    type: 'gauge',
    labels: [],
    help: '1 while this node hears itself through the network.',
  },

  // Process
  dlgforge_build_info: { type: 'gauge', labels: ['version', 'node_kind'], help: 'Always 1.' },
  dlgforge_process_cpu_seconds_total: {
    type: 'counter',
    labels: ['mode'],
    help: 'CPU time of all threads: user and system.',
  },
  dlgforge_process_resident_bytes: { type: 'gauge', labels: [], help: 'Memory in use (RSS).' },
  dlgforge_process_heap_bytes: { type: 'gauge', labels: [], help: 'Heap of the main thread in use.' },
  dlgforge_process_uptime_seconds: { type: 'gauge', labels: [], help: 'Time since the process started.' },
  dlgforge_event_loop_lag_seconds: {
    type: 'gauge',
    labels: ['of'],
    help: 'How late timers ran since the last look: mean, p99 and max.',
  },
  dlgforge_metric_sources_failed_total: {
    type: 'counter',
    labels: [],
    help: 'Sources that failed or took too long at a look; their series were left out.',
  },
} as const satisfies Readonly<Record<`dlgforge_${string}`, MetricSpec>>;
