/** The contract over Electron's IPC. The only place outside `windows/` that knows Electron. */
import { ipcMain, type BrowserWindow, type IpcMainInvokeEvent, type WebContents } from 'electron'
import { CALL_CHANNEL, EVENT_CHANNEL, type CallName, type CallOutcome } from '../../preload/contract'
import type { Endpoint, Session } from './endpoint'

export class ElectronTransport {
  private readonly sessions = new Map<WebContents, Session>()

  /** @param isTrusted whether a page of this address may call; everything else is refused */
  constructor(private readonly endpoint: Endpoint, private readonly isTrusted: (address: string) => boolean) {
    ipcMain.handle(CALL_CHANNEL, (event, name: unknown, params: unknown) => this.call(event, name, params))
  }

  /** Lets a window talk to the manager until its page is destroyed. */
  attach(window: BrowserWindow): void {
    const contents = window.webContents
    this.open(contents)
    // A page loaded anew knows nothing of the consoles the old one had open.
    contents.on('did-start-navigation', (_event, _url, isInPlace, isMainFrame) => {
      if (isMainFrame && !isInPlace) this.open(contents)
    })
    contents.once('destroyed', () => {
      this.sessions.get(contents)?.close()
      this.sessions.delete(contents)
    })
  }

  private open(contents: WebContents): void {
    this.sessions.get(contents)?.close()
    this.sessions.set(contents, this.endpoint.open((name, payload) => {
      if (!contents.isDestroyed()) contents.send(EVENT_CHANNEL, name, payload)
    }))
  }

  private async call(event: IpcMainInvokeEvent, name: unknown, params: unknown): Promise<CallOutcome<CallName>> {
    const session = this.sessions.get(event.sender)
    const frame = event.senderFrame
    if (!session || !frame || frame !== event.sender.mainFrame || !this.isTrusted(frame.url)) {
      return { ok: false, error: { code: 'unauthorized', message: 'This page may not call the manager.' } }
    }
    if (typeof name !== 'string') return { ok: false, error: { code: 'invalid-argument', message: 'A call needs a name.' } }
    return session.call(name, params)
  }

  dispose(): void {
    ipcMain.removeHandler(CALL_CHANNEL)
    for (const session of this.sessions.values()) session.close()
    this.sessions.clear()
  }
}
