import type { TcpPlace } from './tcp-listen.ts';

/** Settings that make the server small; what makes it safe is on and stays on. */
const SERVER_SETTINGS: Readonly<Record<string, string>> = {
  listen_addresses: '',
  unix_socket_permissions: '0700',
  fsync: 'on',
  synchronous_commit: 'on',
  full_page_writes: 'on',
  shared_buffers: '64MB',
  max_connections: '50',
  max_wal_size: '256MB',
  min_wal_size: '16MB',
  wal_compression: 'on',
  wal_level: 'minimal',
  max_wal_senders: '0',
  max_logical_replication_workers: '0',
  jit: 'off',
  max_parallel_workers_per_gather: '0',
  log_checkpoints: 'off',
  // A statement may hold a user's documents: none is ever logged.
  log_min_error_statement: 'panic',
  log_error_verbosity: 'terse',
};

/** `place`: where it listens for other machines; null: on its socket alone. */
export function serverArguments(dataDir: string, socketDir: string, place: TcpPlace | null): string[] {
  const settings = {
    ...SERVER_SETTINGS,
    ...(place === null ? {} : { listen_addresses: place.host, port: String(place.port), ...FOR_MACHINES }),
    unix_socket_directories: socketDir,
  };
  return ['-D', dataDir, ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])];
}

/** Connections of a machine that is gone or cut off do not hold their places, or what they locked, for hours. */
const FOR_MACHINES: Readonly<Record<string, string>> = {
  max_connections: '300',
  tcp_keepalives_idle: '5',
  tcp_keepalives_interval: '2',
  tcp_keepalives_count: '3',
  tcp_user_timeout: '15000',
  authentication_timeout: '10s',
};
