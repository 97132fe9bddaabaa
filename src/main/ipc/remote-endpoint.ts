/** A manager in another process, as an endpoint: a second start of the app or `nestbox serve` joins the first through it. */
import type { EventName, EventPayload } from '../../preload/contract'
import { toWireError } from '../services/errors'
import type { Emit, Endpoint, ManagerClient, Outcome } from './endpoint'
import { LocalClient } from './local-client'

/** One connection per client, so that consoles end with whom they belong to. Connects again where the manager came back. */
class RemoteClient implements ManagerClient {
  private client: Promise<LocalClient> | undefined
  private isClosed = false

  constructor(private readonly path: string, private readonly emit: Emit) {
    // Events come without a call; a failure shows at the first call.
    this.connection().catch(() => undefined)
  }

  private connection(): Promise<LocalClient> {
    this.client ??= LocalClient.connect(this.path).then((client) => {
      if (this.isClosed) client.close()
      client.onAny(<N extends EventName>(name: N, payload: unknown) => this.emit(name, payload as EventPayload<N>))
      void client.closed.then(() => this.lost())
      this.emit('connection.changed', { connected: true })
      return client
    }, (error: unknown) => {
      this.client = undefined
      throw error
    })
    return this.client
  }

  private lost(): void {
    this.client = undefined
    if (!this.isClosed) this.emit('connection.changed', { connected: false })
  }

  async call(name: string, params: unknown): Promise<Outcome> {
    try {
      return await (await this.connection()).request(name, params)
    } catch (error) {
      return { ok: false, error: toWireError(error) }
    }
  }

  close(): void {
    this.isClosed = true
    void this.client?.then((client) => client.close(), () => undefined)
  }
}

export class RemoteEndpoint implements Endpoint {
  constructor(private readonly path: string) {}

  connect(emit: Emit): ManagerClient {
    return new RemoteClient(this.path, emit)
  }
}
