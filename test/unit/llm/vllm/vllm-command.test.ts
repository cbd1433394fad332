import { describe, expect, test } from 'vitest';
import { serverEnvironment, vllmArguments, withAddress } from '../../../../src/llm/vllm/vllm-command.ts';

const settings = {
  model: 'org/model',
  servedModelName: '',
  tensorParallelSize: 2,
  gpuMemoryUtilization: 0.85,
  maxNumSeqs: 128,
  extraArgs: ['--max-model-len', '8192', '--enforce-eager'],
};

describe('command line of a vLLM server', () => {
  test('has everything that the configuration says, in the order of 0.1.0, and what was added behind it', () => {
    const args = withAddress(vllmArguments(settings), '0.0.0.0', 18_001);
    expect(args.join(' ')).toBe(
      'serve org/model --host 0.0.0.0 --port 18001 --served-model-name org/model --tensor-parallel-size 2 ' +
        '--gpu-memory-utilization 0.85 --max-num-seqs 128 --max-model-len 8192 --enforce-eager',
    );
  });

  test('serves the model under its name when it has one; nothing is split or quoted', () => {
    const args = vllmArguments({
      ...settings,
      model: '/models/my model; rm -rf $HOME',
      servedModelName: ' tiny ',
      extraArgs: ['--chat-template', '{{ a "b" }}'],
    });
    expect(args[1]).toBe('/models/my model; rm -rf $HOME');
    expect(args.slice(2, 4)).toEqual(['--served-model-name', 'tiny']);
    expect(args.slice(-2)).toEqual(['--chat-template', '{{ a "b" }}']);
  });

  test('a server sees its GPUs only, and none when it has none', () => {
    expect(serverEnvironment({}, [3, 1])).toMatchObject({ CUDA_VISIBLE_DEVICES: '3,1' });
    expect(serverEnvironment({}, [])).toMatchObject({ CUDA_VISIBLE_DEVICES: '' });
    expect(serverEnvironment({}, null)).not.toHaveProperty('CUDA_VISIBLE_DEVICES');
    expect(serverEnvironment({ VLLM_LOGGING_LEVEL: 'DEBUG', SPT_NOENV: '2' }, null)).toMatchObject({
      VLLM_LOGGING_LEVEL: 'DEBUG',
      SPT_NOENV: '2',
    });
  });
});
