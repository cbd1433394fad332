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
] as const;
