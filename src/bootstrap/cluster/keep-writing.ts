/** Keeps the files of a run up with its commits while somebody follows it: many commits make one pass. */
export interface FileWriter {
  /** Something was committed. */
  wake(): void;
  /** Waits for the pass under way; no other begins. Idempotent. */
  stop(): Promise<void>;
}

const PAUSE_MS = 300;

/** A pass that fails is told of, once per failure, and made good by the next. */
export function keepWriting(write: () => Promise<void>, failed: (error: unknown) => void): FileWriter {
  let timer: NodeJS.Timeout | null = null;
  let underWay: Promise<void> = Promise.resolve();
  let isWriting = false;
  let isWanted = false;
  let isStopped = false;
  const pass = async (): Promise<void> => {
    timer = null;
    isWanted = false;
    isWriting = true;
    await write().catch(failed);
    isWriting = false;
    if (isWanted) arm();
  };
  const arm = (): void => {
    if (timer !== null || isWriting || isStopped) return;
    timer = setTimeout(() => {
      underWay = pass();
    }, PAUSE_MS);
  };
  return {
    wake() {
      isWanted = true;
      arm();
    },
    async stop() {
      isStopped = true;
      if (timer !== null) clearTimeout(timer);
      await underWay;
    },
  };
}
