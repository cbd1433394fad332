/**
 * The engine of a stand-in: every request of its API server needs a word from it. Like the engine of vLLM it does
 * not die with an API server that was killed; so that a broken test leaves nothing for long, it ends a minute later.
 */
const ORPHAN_MS = 60_000;

const [title] = process.argv.slice(2);
if (title !== undefined && title !== '') process.title = title;

let hangs = false;
process.on('message', (message: { readonly id?: number; readonly hang?: true }) => {
  if (message.hang === true) hangs = true;
  else if (!hangs) process.send?.({ id: message.id });
});
const living = setInterval(() => undefined, ORPHAN_MS);
process.on('disconnect', () => setTimeout(() => clearInterval(living), ORPHAN_MS));
// The API server listens from then on.
process.send?.({ ready: true });
