import type { Provider } from './providers.ts';
import type { ServerError } from './server-error.ts';

/** Newer models take `max_completion_tokens`, older servers `max_tokens`; the refusal of one names the other. */
export function refusesTokenField(said: ServerError, used: Provider['maxTokensField']): boolean {
  const other = used === 'max_tokens' ? 'max_completion_tokens' : 'max_tokens';
  const isNamed =
    said.param === used || (said.param === '' && said.message.includes(used) && said.message.includes(other));
  return (
    isNamed &&
    /unsupported|unknown|unrecogni|not supported|not permitted|extra|instead/i.test(
      `${said.code} ${said.message}`,
    )
  );
}
