import type { ResponseFormatKind } from '../ports/model.ts';
import type { ServerError } from './server-error.ts';

const FORMAT_PARAM = /^(response_format|text\.format|generation_?config\.response|guided_json|json_schema)/i;
const FORMAT_CODE = /(response_format|json_schema|structured_output|json_mode)/;
const FORMAT_WORD =
  /response[_ ]format|json[_ ]schema|json[_ ]object|json mode|structured output|response mime ?type|guided_json|grammar/i;
const UNSUPPORTED_WORD =
  /not (?:yet )?(?:be )?(?:support|available|implement|allow|permit|valid)|unsupported|doesn'?t support|cannot be (?:combined|used)|cannot use|must be|invalid|unavailable|unrecogni[sz]ed|unknown|unexpected|only support/i;
/** The prompt is at fault, not the format: OpenAI wants the word "json" in a message. */
const PROMPT_AT_FAULT = /must contain the word|contain.{0,20}the word ['"]?json/i;
const TOOLS_WORD = /\btools?\b|function call/i;

/**
 * The weaker format to try when a 400 or 422 refuses the one that was asked for; null when the
 * refusal is about something else. What the server names (parameter, code) is believed first; its
 * prose only where it names nothing, and only when it speaks of a format and of not having it.
 */
export function weakerFormat(
  error: ServerError,
  status: number,
  asked: ResponseFormatKind,
  withTools: boolean,
): ResponseFormatKind | null {
  if (asked === 'text' || (status !== 400 && status !== 422 && status !== 501)) return null;
  if (!refusesFormat(error)) return null;
  if (withTools && TOOLS_WORD.test(error.message)) return 'text';
  return asked === 'json_schema' ? 'json_object' : 'text';
}

function refusesFormat(error: ServerError): boolean {
  if (PROMPT_AT_FAULT.test(error.message)) return false;
  if (error.param !== '') return FORMAT_PARAM.test(error.param);
  if (FORMAT_CODE.test(error.code)) return true;
  return FORMAT_WORD.test(error.message) && UNSUPPORTED_WORD.test(error.message);
}
