import { unreachable } from '../../kernel/errors.ts';
import { asAssistant } from './assistant.ts';
import type { ChatRequest } from './chat-request.ts';
import { Draws } from './draws.ts';
import { asAnybody } from './general.ts';
import { asJudge } from './judge.ts';
import type { RehearsalOptions } from './options.ts';
import type { PassageTexts } from './passage-text.ts';
import type { RehearsedRole } from './role.ts';
import type { Answer, Scene } from './scene.ts';
import { asUser } from './user-simulator.ts';

/** A function of (seed, request): `key` names both. */
export function answer(
  request: ChatRequest,
  role: RehearsedRole,
  key: string,
  options: RehearsalOptions,
  texts: PassageTexts,
  duplicate: boolean,
): Answer {
  const scene: Scene = {
    request,
    draws: new Draws('answer', options.seed, key),
    texts,
    duplicate,
    secondRoundRate: options.second_round_rate,
    parallelCallsRate: options.parallel_calls_rate,
  };
  switch (role) {
    case 'user':
      return asUser(scene);
    case 'assistant':
      return asAssistant(scene, options.seed);
    case 'judge':
      return asJudge(scene);
    case 'general':
      return asAnybody(scene);
    default:
      return unreachable(role);
  }
}
