/** The actors below a coordinator: the committer, and a wave for each language. */
import type { Rank, Schedule } from '../../dialogue/schedule.ts';
import { committer } from '../committer.ts';
import { COMMITTER_NAME, waveName } from '../directory.ts';
import { languageWave } from '../language-wave.ts';
import type { CommitterMessage, CoordinatorMessage, WaveMessage, WaveView } from '../messages.ts';
import type { ActorContext, ActorRef } from '../runtime/types.ts';
import type { CoordinatorOptions } from './options.ts';

export interface Children {
  readonly committer: ActorRef<CommitterMessage>;
  /** To the wave of its language. */
  tellWave(rank: Rank, message: WaveMessage): void;
  /** By language index; null for a wave that is being restarted: a look at the run must not disturb it. */
  waveViews(): Promise<readonly (WaveView | null)[]>;
}

export function spawnChildren(
  options: CoordinatorOptions,
  schedule: Schedule,
  context: ActorContext<CoordinatorMessage>,
): Children {
  const { languages, runId, queue, totalSamples: target } = options;
  const committerRef = context.spawn(
    COMMITTER_NAME,
    committer({ ...options, coordinator: context.self, standing: (rank) => schedule.standing(rank) }),
  );
  context.watch(committerRef, (terminated) => ({ type: 'CommitterEnded', terminated }));
  const languageCount = languages.length;
  const waves = languages.map((language, languageIndex) =>
    context.spawn<WaveMessage>(
      waveName(languageIndex),
      languageWave({ runId, queue, language, languageIndex, languageCount, target }),
    ),
  );
  return {
    committer: committerRef,
    tellWave(rank, message) {
      const wave = waves[rank.languageIndex];
      if (wave !== undefined) context.tell(wave, message);
    },
    waveViews: () =>
      Promise.all(
        waves.map((wave) =>
          context
            .ask<WaveMessage, WaveView>(wave, (replyTo) => ({ type: 'GetWaveView', replyTo }))
            .catch(() => null),
        ),
      ),
  };
}
