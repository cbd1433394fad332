/** Ends what a test has left behind when the test itself is killed: its input closes with the test's process. */
import { killProcessesOf } from './cluster-processes.ts';

const folders = process.argv.slice(2);
process.stdin.resume().on('end', () => {
  for (const folder of folders) killProcessesOf(folder);
});
