/** What a vLLM server says while it starts, in its order and with its words. */
export function startLines(model: string, port: number, pid: number): readonly string[] {
  const api = `(APIServer pid=${pid})`;
  const engine = `(EngineCore_DP0 pid=${pid + 1})`;
  return [
    `${api} INFO 11-22 20:00:00 [api_server.py:1977] vLLM API server version 0.11.2`,
    `${api} INFO 11-22 20:00:00 [utils.py:253] non-default args: {'model': '${model}', 'port': ${port}}`,
    `${engine} INFO 11-22 20:00:01 [core.py:93] Initializing a V1 LLM engine (v0.11.2)`,
    `${engine} INFO 11-22 20:00:02 [gpu_model_runner.py:3259] Starting to load model ${model}...`,
    'model-00001-of-00002.safetensors:  12%|█▏        | 580M/4.97G [00:01<00:10, 412MB/s]',
    `${engine} INFO 11-22 20:00:03 [weight_utils.py:440] Time spent downloading weights for ${model}: 1.5 seconds`,
    '\rLoading safetensors checkpoint shards:   0% Completed | 0/2 [00:00<?, ?it/s]',
    '\rLoading safetensors checkpoint shards: 100% Completed | 2/2 [00:01<00:00,  1.43it/s]',
    `${engine} INFO 11-22 20:00:04 [default_loader.py:314] Loading weights took 1.40 seconds`,
    `${engine} INFO 11-22 20:00:05 [backends.py:708] Dynamo bytecode transform time: 6.07 s`,
    `${engine} INFO 11-22 20:00:06 [monitor.py:34] torch.compile takes 19.69 s in total`,
    `${engine} INFO 11-22 20:00:07 [kv_cache_utils.py:1234] GPU KV cache size: 1,587,648 tokens`,
    '\rCapturing CUDA graphs (decode, FULL): 100%|██████████| 35/35 [00:01<00:00, 33.86it/s]',
    `${engine} INFO 11-22 20:00:08 [gpu_model_runner.py:4244] Graph capturing finished in 3 secs, took 0.95 GiB`,
    `${engine} INFO 11-22 20:00:08 [core.py:250] init engine (profile, create kv cache, warmup model) took 25.99 seconds`,
    `${api} INFO 11-22 20:00:09 [api_server.py:2024] Starting vLLM API server 0 on http://0.0.0.0:${port}`,
  ];
}
