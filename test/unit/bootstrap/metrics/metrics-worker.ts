/** A worker process that answers its parent about its metrics. */
import { openNodeMetrics } from '../../../../src/bootstrap/metrics/node-metrics.ts';

const node = openNodeMetrics({ version: '1.0.0', nodeKind: 'worker' });
node.metrics.counter('dlgforge_asks_timed_out_total').add(42);
node.answerParent(process);
process.send?.('ready');
