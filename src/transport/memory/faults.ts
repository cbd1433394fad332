/**
 * What is wrong with a network in memory. Owns which ways are cut and which nodes stand still; what
 * becomes of messages then is the network's business.
 */
import { uniform } from '../../kernel/random.ts';

/** What the network does to batches of messages, each as a probability. Not what the port promises: for tests. */
export interface Weather {
  /** The batch is lost. */
  readonly drop?: number;
  /** The batch arrives twice. */
  readonly duplicate?: number;
  /** The batch arrives after the next one of its link, if that is under way too. */
  readonly reorder?: number;
}

export class Faults {
  readonly #seed: number | string;
  readonly #cuts = new Set<string>();
  readonly #cutOff = new Set<string>();
  readonly #frozen = new Set<string>();
  #weather: Weather;
  #draws = 0;

  constructor(seed: number | string, weather: Weather) {
    this.#seed = seed;
    this.#weather = weather;
  }

  set weather(weather: Weather) {
    this.#weather = weather;
  }

  /** One way only. */
  cut(from: string, to: string): void {
    this.#cuts.add(linkKey(from, to));
  }

  mend(from: string, to: string): void {
    this.#cuts.delete(linkKey(from, to));
  }

  cutOff(node: string): void {
    this.#cutOff.add(node);
  }

  restore(node: string): void {
    this.#cutOff.delete(node);
  }

  freeze(node: string): void {
    this.#frozen.add(node);
  }

  thaw(node: string): void {
    this.#frozen.delete(node);
  }

  isCutOff(node: string): boolean {
    return this.#cutOff.has(node);
  }

  isFrozen(node: string): boolean {
    return this.#frozen.has(node);
  }

  /** Whether a message would get through; a node that stands still gets it when it goes on. */
  passes(from: string, to: string): boolean {
    return !this.#cutOff.has(from) && !this.#cutOff.has(to) && !this.#cuts.has(linkKey(from, to));
  }

  strikes(what: keyof Weather): boolean {
    const chance = this.#weather[what] ?? 0;
    if (chance === 0) return false;
    this.#draws += 1;
    return uniform([this.#seed, 'weather', what, this.#draws]) < chance;
  }
}

export const linkKey = (from: string, to: string): string => JSON.stringify([from, to]);
