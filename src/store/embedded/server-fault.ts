import { DlgforgeError } from '../../kernel/errors.ts';

/** Turns what the server printed before it ended into an error that says what to do. */
export function serverFault(output: string, folder: string, packageName: string): DlgforgeError {
  const fault = FAULTS.find(({ pattern }) => pattern.test(output));
  const text = fault?.text(folder, packageName) ?? unknownFault(output, folder);
  return new DlgforgeError('store', text, {
    retryable: fault?.retryable ?? false,
    details: { output: output.slice(-2_000) },
  });
}

/**
 * Another process is starting a server on the same folder, or an old one is still going down (and took the
 * socket's folder with it): look again.
 */
export function isBusy(output: string): boolean {
  return (
    /lock file "postmaster\.pid" already exists|pre-existing shared memory block/.test(output) ||
    /could not create lock file ".*\.s\.PGSQL.*No such file/.test(output)
  );
}

interface Fault {
  readonly pattern: RegExp;
  readonly retryable?: boolean;
  text(folder: string, packageName: string): string;
}

const FAULTS: readonly Fault[] = [
  {
    pattern: /No space left on device|Disk quota exceeded/,
    retryable: true,
    text: (folder) =>
      `The disk of ${folder} is full. Free some space and run again; nothing that was stored is lost.`,
  },
  {
    pattern: /database files are incompatible with server/,
    text: (folder) =>
      `The database in ${folder} was made by another major version of Postgres. Open it with the dlgforge that ` +
      'made it, or move the folder away to begin a new one.',
  },
  {
    pattern: /could not create any TCP\/IP sockets/,
    text: () =>
      'The embedded database cannot listen for other machines: the port is taken, or this machine does not have ' +
      'the address. Choose another port or address.',
  },
  {
    pattern: /error while loading shared libraries|Library not loaded/,
    text: (_folder, packageName) =>
      `The embedded Postgres is not completely installed. Run: npm rebuild ${packageName} ` +
      '(or npm install with install scripts allowed), or set store.postgres.dsn.',
  },
  {
    pattern: /Permission denied|wrong ownership|could not access directory/,
    text: (folder) =>
      `The embedded database may not use ${folder}. Give the folder and those above it to the user who runs ` +
      'dlgforge, or set store.postgres.dsn.',
  },
  {
    pattern: /could not locate a valid checkpoint record|invalid checkpoint|could not read file|invalid page/,
    text: (folder) =>
      `The database in ${folder} is damaged. Restore the folder from a copy, or move it away to begin a new one.`,
  },
];

function unknownFault(output: string, folder: string): string {
  const lines = output.trim().split('\n');
  const telling = lines.findLast((line) => /FATAL|PANIC|error:/.test(line)) ?? lines.at(-1) ?? '';
  return (
    `The embedded database in ${folder} did not start: ${telling.trim() || 'it printed nothing'}. ` +
    'Its log is postgres.log beside that folder; a server of your own can be named in store.postgres.dsn.'
  );
}
