/** What a node and its worker processes say to each other, over the channel between them. */
import type { ClusterAddress } from './find-cluster.ts';
import type { StoreLimits } from './join.ts';

export type WorkerOrders =
  | {
      readonly type: 'join';
      readonly name: string;
      readonly parent: string;
      readonly address: ClusterAddress;
      readonly labels: Readonly<Record<string, string>>;
      readonly limits: Partial<StoreLimits>;
      readonly runtimeDir: string | null;
      readonly logsDir: string;
      readonly cacheDir: string;
      /** Where `.env` files are looked for. */
      readonly folder: string;
      /** A configuration whose own keys count here; null: the environment alone. */
      readonly configPath: string | null;
      readonly command: string;
      readonly metrics: boolean;
    }
  /** Give the conversations back, then end. */
  | { readonly type: 'drain' };

export type WorkerReport =
  | { readonly type: 'joined' }
  | { readonly type: 'failed'; readonly message: string };
