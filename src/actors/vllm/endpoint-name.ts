/** The names of the endpoints that replicas are. */
import type { RetryCause } from '../../ports/model.ts';

const PREFIX = 'managed-vllm-';

export const endpointName = (index: number): string => `${PREFIX}${index}`;

export const isManaged = (endpoint: string): boolean => endpoint.startsWith(PREFIX);

/** The server may have gone with its requests, and is started again: that is no failure of theirs. */
export const mayBeLostWithServer = (endpoint: string, cause: RetryCause): boolean =>
  isManaged(endpoint) && (cause === 'connection' || cause === 'server');
