/** The rehearsal backend by itself, for `dlgforge rehearse`. */
export { parseRehearsalOptions } from '../llm/rehearsal/options.ts';
export { startRehearsal } from '../llm/rehearsal/server.ts';
