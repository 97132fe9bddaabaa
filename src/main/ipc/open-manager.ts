/** Gets a manager for a library: of this process where nobody holds it, else the one of the process that does. */
import { ServiceError } from '../services/errors'
import { readHolder } from '../services/library/lock'
import { createManager, type Manager, type ManagerOptions } from '../services/manager'
import { LocalClient } from './local-client'
import { LocalServer } from './local-server'
import { RemoteEndpoint } from './remote-endpoint'
import { socketPath } from './socket-path'

/** What an app or a server needs of a manager, wherever it runs. */
export interface OpenedManager extends Pick<Manager, 'connect' | 'runningCount' | 'shutdown' | 'resumeSuspended'> {
  /** Whether the machines live in this process; else they go on without it. */
  readonly isLocal: boolean
  /** Clients of the local socket; 0 where the manager is another process. */
  clients(): number
  /** Called where this process must end: another took the library, or the manager it had joined has gone. */
  onLost(listener: (reason: string) => void): void
}

/** A holder that just starts or just ends is asked again for this long. */
const WAIT_MS = 15_000
const RETRY_MS = 100

/** A line to whoever holds the library now. @returns undefined where nobody answers */
export async function connectHolder(home: string): Promise<LocalClient | undefined> {
  const holder = await readHolder(home)
  if (!holder || holder.socket === '') return undefined
  return LocalClient.connect(holder.socket).catch(() => undefined)
}

/** @throws ServiceError library-locked, library-read-only, disk-full */
async function openLocal(options: ManagerOptions): Promise<OpenedManager> {
  const manager = await createManager(options)
  try {
    const server = await LocalServer.listen(manager, socketPath(manager.home))
    await manager.announce(server.path)
    return {
      isLocal: true,
      connect: (emit) => manager.connect(emit),
      clients: () => server.clients,
      runningCount: () => manager.runningCount(),
      onLost: (listener) => manager.onLost(listener),
      resumeSuspended: () => manager.resumeSuspended(),
      async shutdown(how) {
        // First the machines, so that a client that waits for one hears its end.
        await manager.shutdown(how)
        await server.close()
      },
    }
  } catch (error) {
    await manager.shutdown()
    throw error
  }
}

function openRemote(probe: LocalClient, path: string): OpenedManager {
  const endpoint = new RemoteEndpoint(path)
  let isEnding = false
  return {
    isLocal: false,
    connect: (emit) => endpoint.connect(emit),
    clients: () => 0,
    // Machines of another process go on when this one ends: nothing to ask the person about.
    runningCount: () => 0,
    onLost: (listener) => void probe.closed.then(() => {
      if (!isEnding) listener('The machine manager this process had joined has ended.')
    }),
    // The holder did that when it started.
    resumeSuspended: () => Promise.resolve(),
    async shutdown() {
      isEnding = true
      probe.close()
      await probe.closed
    },
  }
}

/** @throws ServiceError library-read-only, disk-full, library-locked where the holder does not answer */
export async function openManager(options: ManagerOptions): Promise<OpenedManager> {
  const deadline = Date.now() + WAIT_MS
  for (;;) {
    const holder = await readHolder(options.home)
    const probe = await connectHolder(options.home)
    if (probe && holder) return openRemote(probe, holder.socket)
    try {
      return await openLocal(options)
    } catch (error) {
      if (!(error instanceof ServiceError) || error.code !== 'library-locked' || Date.now() > deadline) throw error
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
  }
}
