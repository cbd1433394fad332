/** The requests of one file, as they come together. Holds them as they will be sent, and no more than fit. */
import type { BatchForm, BatchPort } from '../../../ports/batch.ts';
import type { BatchEntry } from '../../../protocol/batch-events.ts';
import type { AskedVerdict } from '../judge-unit.ts';
import { customIdOf } from './batch-record.ts';

export interface PartLimits {
  /** Per file. */
  readonly requestsMax: number;
  readonly bytesMax: number;
}

export class PartInMaking {
  readonly lines: Uint8Array[] = [];
  readonly entries: BatchEntry[] = [];
  readonly form: BatchForm;
  readonly #limits: PartLimits;
  readonly #batches: Pick<BatchPort, 'line'>;
  #bytes = 0;
  #isFull = false;

  constructor(batches: Pick<BatchPort, 'line'>, form: BatchForm, limits: PartLimits) {
    this.#batches = batches;
    this.form = form;
    this.#limits = limits;
  }

  get isFull(): boolean {
    return this.#isFull;
  }

  /** `left`: it does not fit any more, and is to be asked again for another file. */
  add(unit: string, { asked }: AskedVerdict): 'taken' | 'left' | 'too_long' {
    const { requestsMax, bytesMax } = this.#limits;
    const { requestKey, request } = asked;
    const { bytes, bodyHash } = this.#batches.line(customIdOf({ unit, requestKey }), request, this.form);
    if (bytes.length > bytesMax) return 'too_long';
    if (this.lines.length >= requestsMax || this.#bytes + bytes.length > bytesMax) {
      this.#isFull = true;
      return 'left';
    }
    this.lines.push(bytes);
    this.entries.push({ unit, requestKey, bodyHash });
    this.#bytes += bytes.length;
    if (this.lines.length >= requestsMax) this.#isFull = true;
    return 'taken';
  }
}
