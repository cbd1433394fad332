/** A refusal by the Hub or its storage: status and words, without the address, which may carry a signature (I8). */
export class HubFailure extends Error {
  override readonly name = 'HubFailure';
  readonly status: number;
  /** For those who run the Hub. */
  readonly requestId: string | null;

  constructor(status: number, said: string, requestId: string | null) {
    super(said);
    this.status = status;
    this.requestId = requestId;
  }
}

const SAID_LENGTH_MAX = 500;

export async function hubFailure(response: Response): Promise<HubFailure> {
  const text = await response.text().catch(() => '');
  return new HubFailure(response.status, saidIn(text), response.headers.get('x-request-id'));
}

/** The Hub says why as JSON; pages of proxies are left out. */
function saidIn(text: string): string {
  let said: unknown;
  try {
    const body = JSON.parse(text) as Record<string, unknown> | null;
    said = body?.['error'] ?? body?.['message'];
  } catch {
    said = text;
  }
  if (typeof said !== 'string' || /^\s*</.test(said)) return '';
  return said.trim().replace(/\s+/g, ' ').replace(/\.$/, '').slice(0, SAID_LENGTH_MAX);
}

export const statusOf = (error: unknown): number | null =>
  error instanceof HubFailure ? error.status : null;
