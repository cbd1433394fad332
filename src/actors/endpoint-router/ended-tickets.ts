import type { Rejection } from './permits.ts';

/** Far more than end while a message is under way. */
const CAPACITY = 20_000;

/** Remembers how the newest tickets ended, so that a message that comes late or twice revives none. */
export class EndedTickets {
  readonly #endings = new Map<string, Rejection>();

  get(ticket: string): Rejection | undefined {
    return this.#endings.get(ticket);
  }

  add(ticket: string, ending: Rejection): void {
    this.#endings.set(ticket, ending);
    if (this.#endings.size <= CAPACITY) return;
    for (const oldest of this.#endings.keys()) {
      this.#endings.delete(oldest);
      return;
    }
  }
}
