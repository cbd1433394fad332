/** Variables that change no key of the configuration: where dlgforge finds things on this machine. */
export const OWN_VARIABLES = [
  {
    name: 'DLGFORGE_CLUSTER_DIR',
    meaning:
      'Folder of the address files by which `auto` finds clusters of this machine, and of what their heads keep. Default: `~/.dlgforge/clusters`.',
  },
  {
    name: 'DLGFORGE_NATS_SERVER',
    meaning:
      'The program that `dlgforge cluster start --head` starts when no NATS URL is given. Default: `nats-server` on the `PATH`.',
  },
  {
    name: 'DLGFORGE_NATS_NKEY',
    meaning: 'File with the nkey seed that this process shows to NATS, where the server asks for one.',
  },
  {
    name: 'DLGFORGE_VLLM_COMMANDS',
    meaning:
      'Programs that this node may start as model servers (`llm.vllm.command`), with commas between them. Default: whatever a run names.',
  },
  {
    name: 'VLLM_API_KEY',
    meaning:
      'Key that the model servers of `llm.backend: vllm_managed` demand, on every node of a cluster. Default: none.',
  },
  {
    name: 'HF_ENDPOINT',
    meaning:
      'Address of the Hub that `dlgforge push` publishes on, for hubs of organisations. Default: `https://huggingface.co`.',
  },
] as const;
