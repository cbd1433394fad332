/**
 * The form in which a request is journalled. Most of a request was in an earlier one of the same
 * conversation (the system message, the first messages of a tool loop), so a message that the journal
 * already holds is named by its place and not written again.
 */
import { invariant } from '../kernel/errors.ts';
import { sha256 } from '../kernel/hash.ts';
import type { ChatMessage, ModelRequest, Role } from './chat.ts';

/** Where a message stands in full: the journal position of its request, and its number in it. */
export interface MessagePlace {
  readonly seq: number;
  readonly message: number;
}

export interface StoredRequest {
  readonly role: Role;
  /** Names only: the specifications are those of the run. */
  readonly tools: readonly string[];
  readonly output: string;
  readonly messages: readonly (ChatMessage | { readonly sameAs: MessagePlace })[];
  /** One per message; short ones that are not worth a reference have ''. */
  readonly digests: readonly string[];
}

/** A request with what is derived from it once: its key, and the digests of its messages. */
export interface KeyedRequest {
  readonly request: ModelRequest;
  /** Equal requests have equal keys, over crashes and processes. */
  readonly requestKey: string;
  readonly digests: readonly string[];
}

/** Shorter messages cost less than a reference to them saves. */
const WORTH_A_REFERENCE = 200;
/** System messages are few and long, and come with every call. */
const KNOWN_SYSTEM_TEXTS = 64;
const systemDigests = new Map<string, string>();

function digestOf(message: ChatMessage): string {
  if (message.role === 'user') return `u${sha256(message.content).slice(0, 23)}`;
  if (message.role !== 'system') return sha256(JSON.stringify(message)).slice(0, 24);
  let digest = systemDigests.get(message.content);
  if (digest === undefined) {
    digest = sha256(message.content).slice(0, 24);
    if (systemDigests.size >= KNOWN_SYSTEM_TEXTS) systemDigests.clear();
    systemDigests.set(message.content, digest);
  }
  return digest;
}

export function keyed(request: ModelRequest): KeyedRequest {
  const digests = request.messages.map(digestOf);
  const tools = request.tools.map((tool) => tool.name);
  return {
    request,
    digests,
    requestKey: sha256([request.role, request.output.name, ...tools, ...digests].join(' ')).slice(0, 32),
  };
}

/** @param places where messages of this conversation stand, by digest. */
export function toStored(
  { request, digests }: KeyedRequest,
  places: Readonly<Record<string, MessagePlace>>,
): StoredRequest {
  return {
    role: request.role,
    tools: request.tools.map((tool) => tool.name),
    output: request.output.name,
    messages: request.messages.map((message, position) => {
      const place = places[digests[position] ?? ''];
      return place === undefined ? message : { sameAs: place };
    }),
    digests: request.messages.map((message, position) =>
      message.content.length < WORTH_A_REFERENCE ? '' : (digests[position] ?? ''),
    ),
  };
}

/** The places that a request adds when it is journalled at `seq`. */
export function placesAfter(
  places: Readonly<Record<string, MessagePlace>>,
  request: StoredRequest,
  seq: number,
): Readonly<Record<string, MessagePlace>> {
  const added = request.digests
    .map((digest, message) => [digest, { seq, message }] as const)
    .filter(([digest]) => digest !== '' && places[digest] === undefined);
  if (added.length === 0) return places;
  // The newest ones: what was said turns ago is not asked again word for word, save the system messages,
  // which are then written once more.
  return Object.fromEntries([...Object.entries(places), ...added].slice(-KNOWN_PLACES));
}

const KNOWN_PLACES = 24;

/** The messages as they were sent. @param requestAt gives the stored request of a journal position. */
export function messagesOf(
  request: StoredRequest,
  requestAt: (seq: number) => StoredRequest | undefined,
): ChatMessage[] {
  return request.messages.map((message) => {
    if (!('sameAs' in message)) return message;
    const original = requestAt(message.sameAs.seq)?.messages[message.sameAs.message];
    invariant(
      original !== undefined && !('sameAs' in original),
      `the journal holds message ${message.sameAs.message} of ${message.sameAs.seq}`,
    );
    return original;
  });
}
