/**
 * What a worker process does: one worker actor for each run that is on, with everything that its
 * conversations need on this node. Owns the runs in hand and the indexes that are open.
 */
import { join } from 'node:path';
import { createClusterRouterClient } from '../../actors/endpoint-router/cluster-client.ts';
import { createModelCalls, type ModelCalls } from '../../actors/endpoint-router/model-calls.ts';
import { clusterDirectory } from '../../actors/directory.ts';
import type { RetrieverMessage } from '../../actors/messages.ts';
import { nodeActor } from '../../actors/node.ts';
import { retriever } from '../../actors/retriever.ts';
import { actorRef, type ActorRef } from '../../actors/runtime/types.ts';
import { nodeEnvironment } from '../../config/dotenv.ts';
import type { Environment } from '../../config/environment.ts';
import { systemClock } from '../../kernel/clock.ts';
import { messageOf } from '../../kernel/errors.ts';
import type { RunId } from '../../kernel/ids.ts';
import type { LeaderChange } from './names.ts';
import { type RunWorker, startRunWorker } from '../generation.ts';
import { type ClusterNode, joinCluster } from './join.ts';
import { openWorkerKnowledge } from './knowledge-worker.ts';
import { ROUTER, retrieverPath } from './names.ts';
import { openNodeLogger } from '../metrics/node-logger.ts';
import { openWorkerParts, type WorkerParts } from './run-parts.ts';
import type { WorkerOrders } from './worker-main.ts';

export interface ClusterWorker {
  /** Gives the conversations back and leaves. */
  drain(): Promise<void>;
}
