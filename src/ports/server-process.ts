/**
 * Model servers as processes of this machine. A server is one `vllm serve` with everything that it starts; it is
 * told from all other processes by its mark. Promises of the adapter:
 *
 * - P1 A program is called with a list of arguments, never through a shell; secrets go by environment only.
 * - P2 Whoever of {the process that started it, what guards it, the program, its engine processes} ends, for
 *   whatever reason, SIGKILL included, alone or two of them together: the whole tree of a server that is not
 *   to be kept is gone within 2 s.
 * - P3 `ended` resolves once, when none of the tree is left, or with those in `left` that could not be ended.
 *   Any exit counts, status 0 too.
 * - P4 What a server writes goes to its log file, which is rotated; the last lines stay at hand (I9).
 */

/**
 * What to start. A kept server is the one that is wanted when program, args and env are the same and it has as
 * many GPUs; name, address and log may differ, because the next run has others.
 */
export interface ServerOrder {
  /** Names the server on this machine, for example `run-1/0`; file names and marks are made of it. */
  readonly name: string;
  /** Program on the PATH, or a path; a relative one counts from the folder of this process. */
  readonly program: string;
  /** `serve <model> …`; host and port, which the adapter knows from `address`, are put behind the model. */
  readonly args: readonly string[];
  /** Added to the environment of this process; the values of the configuration are no secrets. */
  readonly env: Readonly<Record<string, string>>;
  /** Whole GPUs, by index, for CUDA_VISIBLE_DEVICES; null leaves that variable alone. */
  readonly gpus: readonly number[] | null;
  /** Where to listen: the first free port from `portStart` on. */
  readonly address: { readonly host: string; readonly portStart: number };
  /** Absolute path of its log. */
  readonly logPath: string;
  /** It outlives whoever started it, and is found again by `findKept`. */
  readonly keep: boolean;
}

/** What a server does before it answers, as its log tells; `started` when it takes connections. */
export type StartPhase =
  | 'starting'
  | 'downloading the model'
  | 'loading the weights'
  | 'compiling'
  | 'capturing graphs'
  | 'warming up'
  | 'started';

export interface ServerExit {
  /** Status of the program; null when a signal ended it, or when it was found again. */
  readonly code: number | null;
  readonly signal: string | null;
  /** For people, to be put behind the name: `ended with status 1`, `was ended because …`, `was stopped`. */
  readonly reason: string;
  /** Processes of the tree that did not go in spite of SIGKILL (a driver that hangs); they may hold their GPUs. */
  readonly left: readonly number[];
  /** Oldest first. */
  readonly lastLines: readonly string[];
}

export interface ServerProcess {
  readonly name: string;
  readonly pid: number;
  readonly port: number;
  /** GPUs that it was given, also when it was found again. */
  readonly gpus: readonly number[] | null;
  phase(): StartPhase;
  lastLines(): readonly string[];
  readonly ended: Promise<ServerExit>;
  /** SIGTERM to the program, after `graceMs` SIGKILL to the whole tree. Idempotent; resolves as `ended` does. */
  stop(graceMs?: number): Promise<ServerExit>;
  /** SIGKILL to the whole tree at once. */
  kill(): Promise<ServerExit>;
  /** Lets a kept server go on without us; `ended` never resolves after that. Nothing for others. */
  release(): void;
}

export interface KeptServer {
  /** Equal for servers of which `findKept` takes one for the other. */
  readonly orderHash: string;
  readonly pid: number;
  readonly port: number;
  readonly gpus: readonly number[];
  /** Somebody has it in use, so that it would not be found. */
  readonly isUsed: boolean;
}

export interface ServerProcesses {
  /**
   * Whether `program` can be called here.
   * @throws DlgforgeError `endpoint` that names the program and says how to install it.
   */
  require(program: string): Promise<void>;
  /** @throws DlgforgeError `endpoint` when the program is missing, or no port is free. */
  start(order: ServerOrder): Promise<ServerProcess>;
  /**
   * A kept server of this order that is running here, whoever started it, and that nobody else uses; null when
   * there is none. Ask before GPUs are given out: it brings its own (`gpus`). Where `order.keep` is false it is kept
   * no more: from here on it ends with this process, as one that was started here (P2).
   */
  findKept(order: ServerOrder): Promise<ServerProcess | null>;
  /** Kept servers that run on this machine, used or not. */
  kept(): Promise<readonly KeptServer[]>;
  /**
   * Ends what is left of servers that were not to be kept and whose starter has died, and what is left of kept
   * ones whose program has died; gives their number. Only what has a record here and carries its mark.
   */
  sweep(): Promise<number>;
}

/** What a server says of itself over HTTP. */
export interface ServerVitals {
  /** Its `/health` answered 200. */
  readonly isHealthy: boolean;
  /** Ids that `/v1/models` lists; null when it did not answer. */
  readonly models: readonly string[] | null;
  /** From `/metrics`; null when it has none. */
  readonly load: {
    readonly running: number;
    readonly waiting: number;
    /** Grows whenever it gets on with any request; the same value while requests run or wait is a hang. */
    readonly tokens: number;
    /** Prompt tokens that came from the prefix cache; null when it does not say. */
    readonly cachedTokens: number | null;
  } | null;
}

/** `baseUrl` ends with `/v1`; `key` is what the server demands, or null. */
export interface ServerProbe {
  /** Never throws; each part has at most `timeoutMs`. */
  vitals(baseUrl: string, key: string | null, timeoutMs: number): Promise<ServerVitals>;
  /**
   * Asks `model` for one token. False when the server has said nothing at all until `patience` aborts; a refusal is
   * an answer, and a connection that ends is no silence. Never throws.
   */
  answers(baseUrl: string, key: string | null, model: string, patience: AbortSignal): Promise<boolean>;
}
