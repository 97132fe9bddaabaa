/** The contract on a local socket, one JSON object per line; only this user can open it. */
import { chmod, rm } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import type { Endpoint } from './endpoint'
import { answerRequest, eventText, MAX_BACKLOG_BYTES, MAX_REQUEST_LENGTH, SKIP_FIGURES_BYTES } from './frames'
import { LineReader } from './line-reader'
import { prepareSocketFolder } from './socket-path'

export class LocalServer {
  private readonly sockets = new Set<Socket>()

  private constructor(private readonly endpoint: Endpoint, readonly path: string, private readonly server: Server) {}

  /** Whoever calls this holds the library's lock: a socket that is there already is a dead manager's. */
  static async listen(endpoint: Endpoint, path: string): Promise<LocalServer> {
    await prepareSocketFolder(path)
    if (process.platform !== 'win32') await rm(path, { force: true })
    const server = createServer()
    const local = new LocalServer(endpoint, path, server)
    server.on('connection', (socket) => local.accept(socket))
    // Between bind and chmod the socket would be open to others but for the mask.
    const mask = process.platform === 'win32' ? undefined : process.umask(0o177)
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject)
        server.listen(path, resolve)
      })
    } finally {
      if (mask !== undefined) process.umask(mask)
    }
    if (process.platform !== 'win32') await chmod(path, 0o600)
    return local
  }

  get clients(): number {
    return this.sockets.size
  }

  private accept(socket: Socket): void {
    this.sockets.add(socket)
    const send = (text: string): void => {
      if (socket.destroyed) return
      socket.write(`${text}\n`)
      if (socket.writableLength > MAX_BACKLOG_BYTES) socket.destroy()
    }
    const session = this.endpoint.connect((name, payload) => {
      if (name === 'machine.figures' && socket.writableLength > SKIP_FIGURES_BYTES) return
      send(eventText(name, payload))
    })
    const reader = new LineReader(MAX_REQUEST_LENGTH, (text) => {
      void answerRequest(session, text).then((reply) => (reply === undefined ? socket.destroy() : send(reply)))
    }, () => socket.destroy())
    socket.on('data', (chunk: Buffer) => reader.push(chunk))
    // What a client did wrong, or its death, ends its session and nothing else.
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      this.sockets.delete(socket)
      session.close()
    })
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy()
    await new Promise<void>((resolve) => this.server.close(() => resolve()))
  }
}
