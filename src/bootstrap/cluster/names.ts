/** Names that every node of a cluster agrees on; those of a run's actors are in `actors/directory.ts`. */

/** The singleton that gives out permits. */
export const ROUTER = 'router';

/** The actor that serves passages of an index to nodes that do not have it. */
export const retrieverPath = (fingerprint: string): string => `retriever:${fingerprint}`;
