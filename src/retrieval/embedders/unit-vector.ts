import { DlgforgeError } from '../../kernel/errors.ts';

/** The vector scaled to length 1. @throws DlgforgeError `retrieval` for one without direction. */
export function unitVector(values: ArrayLike<number>): Float32Array {
  let square = 0;
  for (let i = 0; i < values.length; i += 1) square += (values[i] as number) ** 2;
  const length = Math.sqrt(square);
  if (!(length > 0) || !Number.isFinite(length)) {
    throw new DlgforgeError(
      'retrieval',
      'The embedding model gave a vector without direction (all zero, or not numbers). Choose another model under tools.retrieval.embeddings.',
    );
  }
  return Float32Array.from(values, (value) => value / length);
}
