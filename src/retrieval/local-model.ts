/**
 * A local model in a thread of its own: loaded once (fault D6), asked one thing at a time, so that
 * neither loading nor computing stops the event loop (fault D5).
 */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { DlgforgeError, messageOf } from '../kernel/errors.ts';
import type { Logger } from '../kernel/logger.ts';
import type { LoadRequest, ModelReply, ModelRequest } from './local-model-worker.ts';
import { moduleUrl } from './module-url.ts';

export const TRANSFORMERS = '@huggingface/transformers';
export const INSTALL_LINE = `npm install ${TRANSFORMERS}`;

export interface LocalModelSettings {
  /** A model's name or the path of its folder. */
  readonly model: string;
  /** Tried when `model` cannot be loaded; '' for none. Never downloaded. */
  readonly fallbackModel: string;
  /** `auto` leaves the choice to the package. */
  readonly device: string;
  readonly fallbackOnCpu: boolean;
  readonly modelKwargs: Readonly<Record<string, unknown>>;
  readonly tokenizerKwargs: Readonly<Record<string, unknown>>;
  /** Where the optional package and a folder `models/` are looked for. */
  readonly projectDir: string;
}

/** A model that is on disk: the folder that its name is relative to, and the name. */
interface ModelPlace {
  readonly modelsDir: string;
  readonly name: string;
}

/** The package's folder and entry; null when it is not installed (or only its empty stand-in is). */
export function findTransformers(
  projectDir: string,
): { readonly folder: string; readonly url: string } | null {
  for (const from of [join(projectDir, 'package.json'), import.meta.filename]) {
    const require = createRequire(from);
    for (const root of require.resolve.paths(TRANSFORMERS) ?? []) {
      const folder = join(root, TRANSFORMERS);
      const manifest = join(folder, 'package.json');
      if (!existsSync(manifest)) continue;
      const { name } = JSON.parse(readFileSync(manifest, 'utf8')) as { readonly name?: unknown };
      if (name === TRANSFORMERS)
        return { folder, url: pathToFileURL(createRequire(join(root, 'x.js')).resolve(TRANSFORMERS)).href };
    }
  }
  return null;
}

/** A model folder given by path, below `<project>/models`, or in the package's cache. */
export function findModel(model: string, projectDir: string): ModelPlace | null {
  const inProject = isAbsolute(model) ? model : resolve(projectDir, model);
  const cache = findTransformers(projectDir);
  const places: ModelPlace[] = [
    { modelsDir: dirname(inProject), name: inProject.slice(dirname(inProject).length + 1) },
    { modelsDir: join(projectDir, 'models'), name: model },
    ...(cache ? [{ modelsDir: join(cache.folder, '.cache'), name: model }] : []),
  ];
  return places.find(({ modelsDir, name }) => existsSync(join(modelsDir, name, 'config.json'))) ?? null;
}

/** Options of other libraries that would run code of a model are dropped and said (fault F7). */
function safeOptions(options: Readonly<Record<string, unknown>>, logger: Logger): Record<string, unknown> {
  const { trust_remote_code: remoteCode, ...rest } = options;
  if (remoteCode !== undefined)
    logger.log(
      'warn',
      'retrieval',
      '[retrieval] trust_remote_code is ignored: code that comes with a model is never run',
    );
  return rest;
}

/** `auto` is the package's own choice, and `cuda:0` is `cuda` to it. */
const deviceOf = (device: string): string | null =>
  device === '' || device === 'auto' ? null : device.replace(/:\d+$/, '');

class ModelThread {
  readonly #worker = new Worker(moduleUrl('./local-model-worker', import.meta.url), { execArgv: [] });
  #turn: Promise<unknown> = Promise.resolve();
  #failed: Error | null = null;
  #settle: { readonly resolve: (reply: ModelReply) => void; readonly reject: (error: Error) => void } | null =
    null;

  constructor() {
    this.#worker.unref();
    this.#worker.on('message', (reply: ModelReply) => this.#settle?.resolve(reply));
    this.#worker.on('error', (error) => this.#lost(messageOf(error)));
    this.#worker.on('exit', () => this.#lost('its thread ended'));
  }

  /** One request at a time, in the order asked. */
  ask(request: ModelRequest): Promise<ModelReply> {
    const reply = this.#turn.then(() => this.#send(request));
    this.#turn = reply.catch(() => undefined);
    return reply;
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }

  #send(request: ModelRequest): Promise<ModelReply> {
    if (this.#failed) return Promise.reject(this.#failed);
    this.#worker.ref();
    return new Promise<ModelReply>((resolvePromise, reject) => {
      this.#settle = { resolve: resolvePromise, reject };
      this.#worker.postMessage(request);
    }).finally(() => {
      this.#settle = null;
      this.#worker.unref();
    });
  }

  #lost(why: string): void {
    this.#failed ??= new DlgforgeError(
      'retrieval',
      `The local model is gone: ${why}. Start again; if it happens again, choose a smaller model.`,
      { retryable: true },
    );
    this.#settle?.reject(this.#failed);
  }
}

export interface LocalModel {
  /** The one that was loaded. */
  readonly model: string;
  readonly device: string;
  /** Of the package. */
  readonly version: string;
  ask(request: ModelRequest): Promise<ModelReply>;
  close(): Promise<void>;
}

interface LoadOptions {
  readonly task: LoadRequest['task'];
  /** Whether `model` may be fetched from its hub; false uses what is on disk. */
  readonly allowDownload: boolean;
  /** The configuration section, for messages. */
  readonly section: string;
  readonly logger: Logger;
}

interface Candidate {
  readonly model: string;
  readonly device: string;
  readonly allowDownload: boolean;
}

/** What is tried, in order: as configured, on the CPU, the fallback model. */
function candidates(
  { model, device, fallbackOnCpu, fallbackModel }: LocalModelSettings,
  allowDownload: boolean,
): Candidate[] {
  const onCpu = fallbackOnCpu && deviceOf(device) !== null && deviceOf(device) !== 'cpu';
  const devices = onCpu ? [device, 'cpu'] : [device];
  const fallbacks =
    fallbackModel !== '' && fallbackModel !== model
      ? [{ model: fallbackModel, device: fallbackOnCpu ? 'cpu' : device, allowDownload: false }]
      : [];
  return [...devices.map((each) => ({ model, device: each, allowDownload })), ...fallbacks];
}

/**
 * @throws DlgforgeError `retrieval` when the package is missing (with the line to type) or no candidate
 *   can be loaded (with the reason of each)
 */
export async function loadLocalModel(
  settings: LocalModelSettings,
  { task, allowDownload, section, logger }: LoadOptions,
): Promise<LocalModel> {
  const found = findTransformers(settings.projectDir);
  if (found === null) {
    throw new DlgforgeError(
      'retrieval',
      `${section} asks for the local model ${settings.model}, which needs an optional package. Install it with: ${INSTALL_LINE}`,
    );
  }
  const failures: string[] = [];
  for (const { model, device, allowDownload: download } of candidates(settings, allowDownload)) {
    const place = findModel(model, settings.projectDir);
    if (place === null && !download) {
      failures.push(`${model} is not on disk`);
      continue;
    }
    const thread = new ModelThread();
    const reply = await thread.ask({
      type: 'load',
      packageUrl: found.url,
      task,
      model: place?.name ?? model,
      modelsDir: place?.modelsDir ?? null,
      allowDownload: download && place === null,
      device: deviceOf(device),
      modelOptions: safeOptions(settings.modelKwargs, logger),
      tokenizerOptions: safeOptions(settings.tokenizerKwargs, logger),
    });
    if (reply.type === 'loaded') {
      if (failures.length > 0)
        logger.log(
          'warn',
          'retrieval',
          `[retrieval] using ${model} on ${device}, because ${failures.join('; ')}`,
        );
      return {
        model,
        device,
        version: reply.version,
        ask: (request) => thread.ask(request),
        close: () => thread.close(),
      };
    }
    failures.push(`${model} on ${device} failed (${reply.type === 'failed' ? reply.reason : reply.type})`);
    await thread.close();
  }
  throw new DlgforgeError(
    'retrieval',
    `No local model for ${section} can be loaded: ${failures.join('; ')}. Put the model's ONNX folder below ${join(settings.projectDir, 'models')}, or set ${section}.base_url to an endpoint.`,
  );
}
