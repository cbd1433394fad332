/**
 * The name of a model for others. Servers name a model that they load from a folder by its path: then it is the
 * last part, where the folder lies is nobody's business (fault I11). A provider in front of it stays.
 */
export function publicModelName(name: string): string {
  const [, provider = '', path] = LOCAL.exec(name) ?? [];
  if (path === undefined) return name;
  return provider + (path.split(/[/\\]+/).findLast((part) => part !== '') ?? '');
}

/** `/srv/models/x`, `~/x`, `C:\x`, each perhaps behind `provider/`. */
const LOCAL = /^([^/\\]*\/)?((?:\/|~\/|[A-Za-z]:[\\/]).*)$/s;
