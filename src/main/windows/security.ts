/** What no page of ours may do, whatever it contains: navigate, open windows, embed, ask for devices. */
import { app, dialog, session, shell, type BrowserWindow, type WebContents } from 'electron'
import { APP_ORIGIN } from './protocol'

const ALLOWED_PERMISSIONS: ReadonlySet<string> = new Set(['clipboard-read', 'clipboard-sanitized-write'])

/** True for an address that may be handed to the system's browser. */
export function isWebLink(address: string): boolean {
  try {
    const { protocol } = new URL(address)
    return protocol === 'https:' || protocol === 'http:'
  } catch {
    return false
  }
}

export interface LinkQuestion {
  readonly title: string
  readonly open: string
  readonly cancel: string
}

/** Links in a console are written by the guest, so the user sees the whole address before it is opened. */
async function openAfterAsking(window: BrowserWindow | null, address: string, words: LinkQuestion): Promise<void> {
  const options = {
    type: 'question' as const,
    message: words.title,
    detail: address,
    buttons: [words.open, words.cancel],
    defaultId: 1,
    cancelId: 1,
    noLink: true,
  }
  const { response } = await (window ? dialog.showMessageBox(window, options) : dialog.showMessageBox(options))
  if (response === 0) await shell.openExternal(address)
}

function harden(contents: WebContents, owner: (contents: WebContents) => BrowserWindow | null, words: () => LinkQuestion): void {
  contents.on('will-navigate', (event, url) => {
    if (!url.startsWith(`${APP_ORIGIN}/`)) event.preventDefault()
  })
  contents.on('will-redirect', (event) => event.preventDefault())
  contents.on('will-attach-webview', (event) => event.preventDefault())
  contents.setWindowOpenHandler(({ url }) => {
    if (isWebLink(url)) void openAfterAsking(owner(contents), url, words())
    return { action: 'deny' }
  })
}

/** Applies the rules to every page this process will ever create. Call once the app is ready, before the first window. */
export function hardenApp(owner: (contents: WebContents) => BrowserWindow | null, words: () => LinkQuestion): void {
  app.on('web-contents-created', (_event, contents) => harden(contents, owner, words))
  const allowed = (permission: string, origin: string): boolean =>
    ALLOWED_PERMISSIONS.has(permission) && origin.startsWith(APP_ORIGIN)
  session.defaultSession.setPermissionRequestHandler((contents, permission, done) => {
    done(allowed(permission, contents.getURL()))
  })
  session.defaultSession.setPermissionCheckHandler((_contents, permission, origin) => allowed(permission, origin))
}
