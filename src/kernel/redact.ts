/** Shorter values would match inside ordinary words; no provider's keys are that short. */
const SECRET_LENGTH_MIN = 4;
const MASK = '***';

/**
 * Takes known secret values out of texts (I8), also where they were quoted for JSON or for a URL.
 * Longer ones go first, so that one secret inside another leaves nothing behind.
 */
export function redactor(secrets: readonly string[]): (text: string) => string {
  const forms = secrets
    .filter((secret) => secret.length >= SECRET_LENGTH_MIN)
    .flatMap((secret) => [
      secret,
      JSON.stringify(secret).slice(1, -1),
      encodeURIComponent(secret.toWellFormed()),
    ]);
  const distinct = [...new Set(forms)].toSorted((a, b) => b.length - a.length);
  return (text) => distinct.reduce((rest, form) => rest.replaceAll(form, MASK), text);
}
