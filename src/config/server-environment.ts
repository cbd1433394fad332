/** What a model server that dlgforge starts gets of our environment: nothing that is a secret of somebody else (I8). */
import type { Environment } from './environment.ts';
import { isSecretName, maskedText } from './masking.ts';

/** Its own key, and those that it fetches models with. */
const ITS_OWN: ReadonlySet<string> = new Set(['VLLM_API_KEY', 'HF_TOKEN', 'HUGGING_FACE_HUB_TOKEN']);

/** `secrets`: values that are known to be some. */
export function serverEnvironment(environment: Environment, secrets: readonly string[]): Environment {
  const known = new Set(secrets);
  const isSecret = (name: string, value: string | undefined): boolean =>
    isSecretName(name) || isAddressWithLogin(name, value) || (value !== undefined && known.has(value.trim()));
  return Object.fromEntries(
    Object.entries(environment).filter(([name, value]) => ITS_OWN.has(name) || !isSecret(name, value)),
  );
}

/** A proxy needs its login; a database is nothing to a model server. */
const isAddressWithLogin = (name: string, value: string | undefined): boolean =>
  value !== undefined && maskedText(value) !== value && !/_proxy$/i.test(name);

/** The programs that this node may start as model servers; null: any. */
export function allowedServerPrograms(environment: Environment): readonly string[] | null {
  const listed = environment['DLGFORGE_VLLM_COMMANDS'];
  if (listed === undefined) return null;
  return listed
    .split(',')
    .map((program) => program.trim())
    .filter((program) => program !== '');
}
