import { randomUUID } from 'node:crypto';

type Brand<T, B extends string> = T & { readonly __brand: B };

export type RunId = Brand<string, 'RunId'>;
export type DatasetId = Brand<string, 'DatasetId'>;
export type ConversationId = Brand<string, 'ConversationId'>;
/** Names a persistent actor's journal. */
export type PersistenceId = Brand<string, 'PersistenceId'>;
/** Fencing token of a hold: only the newest epoch may write (I2). */
export type Epoch = Brand<number, 'Epoch'>;

export const runId = (text: string): RunId => text as RunId;
export const datasetId = (text: string): DatasetId => text as DatasetId;
export const conversationId = (text: string): ConversationId => text as ConversationId;
export const persistenceId = (text: string): PersistenceId => text as PersistenceId;
export const epoch = (value: number): Epoch => value as Epoch;

/** A fresh 32-digit hex id, the form that 0.1.0 gave its runs. */
export const freshHexId = (): string => randomUUID().replaceAll('-', '');
