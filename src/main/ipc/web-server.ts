/** `nestbox serve`: the page and the contract for a browser on this computer, who knows the token. Loopback only. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { WebSocketServer, type WebSocket } from 'ws'
import { TOKEN_PROTOCOL_PREFIX, WEBSOCKET_PATH, WEBSOCKET_PROTOCOL, phrase } from '../../preload/contract'
import { ServiceError, systemCode } from '../services/errors'
import type { Endpoint } from './endpoint'
import { answerRequest, eventText, MAX_BACKLOG_BYTES, MAX_REQUEST_LENGTH, SKIP_FIGURES_BYTES } from './frames'
import { contentSecurityPolicy, serveStatic } from './static-files'

const LOOPBACK = '127.0.0.1'
const PING_MS = 30_000

export interface WebServerOptions {
  readonly endpoint: Endpoint
  /** Folder of the built page. */
  readonly root: string
  /** 0: any free one. */
  readonly port: number
  /** A random one where none is given. */
  readonly token?: string
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest()

export class WebServer {
  private readonly sockets = new WebSocketServer({
    noServer: true, maxPayload: MAX_REQUEST_LENGTH, perMessageDeflate: false, handleProtocols: (offered) => offered.has(WEBSOCKET_PROTOCOL) && WEBSOCKET_PROTOCOL,
  })
  private readonly token: string
  private readonly ping: NodeJS.Timeout
  private port = 0

  private constructor(private readonly options: WebServerOptions, private readonly server: Server) {
    this.token = options.token ?? randomBytes(24).toString('base64url')
    server.on('request', (request, response) => {
      // A page of another name that resolves to this computer (DNS rebinding) sends its own name as the host.
      if (!this.isOurHost(request.headers.host)) {
        response.writeHead(421).end('wrong host')
        return
      }
      const origins = this.hosts().map((host) => `ws://${host}`)
      serveStatic(options.root, contentSecurityPolicy(origins), request, response).catch(() => response.destroy())
    })
    server.on('upgrade', (request, socket, head) => this.upgrade(request, socket, head))
    this.ping = setInterval(() => this.sockets.clients.forEach((client) => client.ping()), PING_MS)
    this.ping.unref()
  }

  /** @throws ServiceError where the port is taken */
  static async listen(options: WebServerOptions): Promise<WebServer> {
    const server = createServer()
    const web = new WebServer(options, server)
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => {
        clearInterval(web.ping)
        const reason = systemCode(error) === 'EADDRINUSE' ? 'another program uses it' : error.message
        reject(new ServiceError('invalid-argument', phrase('call.portUnusable', { port: options.port, detail: reason }), { port: options.port }))
      })
      server.listen(options.port, LOOPBACK, resolve)
    })
    web.port = (server.address() as AddressInfo).port
    return web
  }

  /** Address with the token: whoever has it commands all machines. */
  get address(): string {
    return `http://${LOOPBACK}:${this.port}/#token=${this.token}`
  }

  get clients(): number {
    return this.sockets.clients.size
  }

  private hosts(): string[] {
    return [`${LOOPBACK}:${this.port}`, `localhost:${this.port}`]
  }

  private isOurHost(host: string | undefined): boolean {
    return host !== undefined && this.hosts().includes(host)
  }

  private upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const refuse = (status: string): void => void socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
    socket.on('error', () => socket.destroy())
    if (!this.isOurHost(request.headers.host)) return refuse('421 Misdirected Request')
    if ((request.url ?? '').split('?', 1)[0] !== WEBSOCKET_PATH) return refuse('404 Not Found')
    const { origin } = request.headers
    // Browsers always send the origin; a program that sends none still needs the token.
    if (origin !== undefined && !this.hosts().some((host) => origin === `http://${host}`)) return refuse('403 Forbidden')
    if (!this.hasToken(request)) return refuse('401 Unauthorized')
    this.sockets.handleUpgrade(request, socket, head, (client) => this.accept(client))
  }

  private hasToken(request: IncomingMessage): boolean {
    const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((item) => item.trim())
    const given = offered.find((item) => item.startsWith(TOKEN_PROTOCOL_PREFIX))?.slice(TOKEN_PROTOCOL_PREFIX.length)
    return given !== undefined && timingSafeEqual(digest(given), digest(this.token))
  }

  private accept(client: WebSocket): void {
    const send = (text: string): void => {
      if (client.readyState !== client.OPEN) return
      client.send(text)
      if (client.bufferedAmount > MAX_BACKLOG_BYTES) client.terminate()
    }
    const session = this.options.endpoint.connect((name, payload) => {
      if (name === 'machine.figures' && client.bufferedAmount > SKIP_FIGURES_BYTES) return
      send(eventText(name, payload))
    })
    client.on('message', (data, isBinary) => {
      if (isBinary) return client.close(1003)
      void answerRequest(session, String(data)).then((reply) => (reply === undefined ? client.close(1007) : send(reply)))
    })
    client.on('error', () => client.terminate())
    client.on('close', () => session.close())
  }

  async close(): Promise<void> {
    clearInterval(this.ping)
    for (const client of this.sockets.clients) client.terminate()
    this.server.closeAllConnections()
    await new Promise<void>((resolve) => this.server.close(() => resolve()))
  }
}
