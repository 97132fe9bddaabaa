/** The contract over Electron's IPC. The only place outside `windows/` that knows Electron. */
import { ipcMain, type IpcMainInvokeEvent, type WebContents } from 'electron'
import { CALL_CHANNEL, calls, EVENT_CHANNEL, type PickRequest } from '../../preload/contract'
import { ServiceError } from '../services/errors'
import { invalidParams } from '../services/invalid-params'
import type { Endpoint, ManagerClient, Outcome } from './endpoint'

export interface ElectronTransportOptions {
  /** Whether a page of this address may call; everything else is refused. */
  readonly isAllowedUrl: (address: string) => boolean
  /** The desktop's file dialog over the page's window; null: none was chosen. */
  readonly pickFile: (contents: WebContents, request: PickRequest) => Promise<string | null>
}

export class ElectronTransport {
  private readonly clients = new Map<WebContents, ManagerClient>()

  constructor(private readonly endpoint: Endpoint, private readonly options: ElectronTransportOptions) {
    ipcMain.handle(CALL_CHANNEL, (event, name: unknown, params: unknown) => this.call(event, name, params))
  }

  /** Lets a page talk to the manager until it is destroyed. */
  add(webContents: WebContents): void {
    this.open(webContents)
    // A page loaded anew knows nothing of the consoles the old one had open.
    webContents.on('did-start-navigation', (details) => {
      if (details.isMainFrame && !details.isSameDocument) this.open(webContents)
    })
    webContents.once('destroyed', () => {
      this.clients.get(webContents)?.close()
      this.clients.delete(webContents)
    })
  }

  private open(contents: WebContents): void {
    this.clients.get(contents)?.close()
    this.clients.set(contents, this.endpoint.connect((name, payload) => {
      if (!contents.isDestroyed()) contents.send(EVENT_CHANNEL, name, payload)
    }))
  }

  private async call(event: IpcMainInvokeEvent, name: unknown, params: unknown): Promise<Outcome> {
    const client = this.clients.get(event.sender)
    const frame = event.senderFrame
    if (!client || !frame || frame !== event.sender.mainFrame || !this.options.isAllowedUrl(frame.url)) {
      return { ok: false, error: { code: 'unauthorized', message: 'This page may not call the manager.' } }
    }
    if (typeof name !== 'string') return { ok: false, error: { code: 'invalid-argument', message: 'A call needs a name.' } }
    if (name === 'host.pickFile') return this.pickFile(event.sender, params)
    return client.call(name, params)
  }

  private async pickFile(contents: WebContents, params: unknown): Promise<Outcome> {
    const parsed = calls['host.pickFile'].params.safeParse(params)
    if (!parsed.success) return { ok: false, error: new ServiceError('invalid-argument', invalidParams(parsed.error.issues)).toWire() }
    return { ok: true, result: { path: await this.options.pickFile(contents, parsed.data) } }
  }

  dispose(): void {
    ipcMain.removeHandler(CALL_CHANNEL)
    for (const client of this.clients.values()) client.close()
    this.clients.clear()
  }
}

export const connectElectron = (endpoint: Endpoint, options: ElectronTransportOptions): ElectronTransport => new ElectronTransport(endpoint, options)
