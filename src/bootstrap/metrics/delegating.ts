/**
 * An object that does what `target` does, with some methods replaced. Not a copy: adapters are classes with
 * private fields, so their methods run on themselves, also those that a port gains later.
 *
 * `failed` hears of every promise that is rejected, by the method's name; the caller still gets the error.
 */
export function delegating<T extends object>(
  target: T,
  replaced: Partial<T>,
  failed: (method: string, error: unknown) => void,
): T {
  const wrapped = new Map<string | symbol, unknown>();
  return new Proxy(target, {
    get(_, key) {
      const known = wrapped.get(key);
      if (known !== undefined) return known;
      const owner: object = Reflect.has(replaced, key) ? replaced : target;
      const value: unknown = Reflect.get(owner, key, owner);
      if (typeof value !== 'function') return value;
      const call = (...args: unknown[]): unknown => {
        const result: unknown = Reflect.apply(value, owner, args);
        if (!(result instanceof Promise)) return result;
        return result.catch((error: unknown) => {
          failed(String(key), error);
          throw error;
        });
      };
      wrapped.set(key, call);
      return call;
    },
  });
}
