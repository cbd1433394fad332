/** Model calls of a judge's pass: a router of this process, under the limits of the configuration (I7). */
import type { RunRegistration } from '../../actors/endpoint-router/permits.ts';
import { createRouterClient, endpointRouter } from '../../actors/endpoint-router/actor.ts';
import { createModelCalls, type ModelCalls } from '../../actors/endpoint-router/model-calls.ts';
import { createActorSystem } from '../../actors/runtime/actor-system.ts';
import { systemClock } from '../../kernel/clock.ts';
import { runId } from '../../kernel/ids.ts';
import type { ModelPort } from '../../ports/model.ts';
import type { Project } from '../project.ts';
import { runSettings } from '../run-settings.ts';

export interface JudgeCalls {
  readonly calls: ModelCalls;
  /** What the judge's endpoints take at the same time. */
  readonly maxInFlight: number;
  /** The router knows the endpoints of the port as they are now. */
  endpointsChanged(): void;
  close(): Promise<void>;
}

const NODE = 'local';
/** What the router knows the pass by. */
const JUDGE = runId('judge');

export function openJudgeCalls({ config, logger }: Project, port: ModelPort): JudgeCalls {
  const { strategy, roleStrategies, patienceMs } = runSettings(config);
  const system = createActorSystem({ node: NODE, logger, clock: systemClock });
  const registration = (): RunRegistration => ({
    runId: JUDGE,
    endpoints: port.endpoints,
    strategy,
    roleStrategies,
    asksFirst: false,
  });
  const router = system.spawn('endpoint-router', endpointRouter({ runs: [registration()] }));
  const calls = createModelCalls({
    router: createRouterClient({ messenger: system, router, runId: JUDGE, name: NODE }),
    port,
    clock: systemClock,
    logger,
    patienceMs,
  });
  const judges = port.endpoints.filter(({ roles }) => roles.includes('judge'));
  return {
    calls,
    maxInFlight: judges.reduce((sum, endpoint) => sum + endpoint.maxInFlight, 0),
    endpointsChanged: () => system.tell(router, { type: 'RegisterRun', ...registration() }),
    close: () => system.stop(),
  };
}
