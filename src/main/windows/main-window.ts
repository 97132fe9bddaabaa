/** The one window: sandboxed, isolated, remembered. */
import { join } from 'node:path'
import { BrowserWindow, nativeTheme, screen } from 'electron'
import { APP_ORIGIN } from './protocol'
import { loadWindowState, saveWindowState } from './window-state'

export interface MainWindowOptions {
  /** The built preload script. */
  readonly preload: string
  /** Folder of the remembered place. */
  readonly stateDirectory: string
  /** Window icon, PNG. */
  readonly icon?: string
  /** Address of the development server; the built page otherwise. */
  readonly developmentUrl?: string
  /** True while the whole app ends: a window that asks then would stop the end. */
  readonly isEnding: () => boolean
  /** Asked before the window closes; false keeps it open. */
  readonly mayClose: () => Promise<boolean>
}

export function createMainWindow(options: MainWindowOptions): BrowserWindow {
  const stateFile = join(options.stateDirectory, 'window.json')
  const { maximized, ...bounds } = loadWindowState(stateFile, screen.getAllDisplays().map((display) => display.workArea))
  const window = new BrowserWindow({
    ...bounds,
    minWidth: 640,
    minHeight: 480,
    show: false,
    title: 'Nestbox',
    // The page's own ground, so that nothing flashes before it is drawn.
    backgroundColor: nativeTheme.shouldUseDarkColors ? '#14171e' : '#f4f5f7',
    ...(options.icon ? { icon: options.icon } : {}),
    webPreferences: {
      preload: options.preload,
      sandbox: true,
      contextIsolation: true,
      nodeIntegration: false,
      webviewTag: false,
      spellcheck: false,
    },
  })
  if (maximized) window.maximize()
  window.once('ready-to-show', () => window.show())

  let isAgreed = false
  const remember = (): void => saveWindowState(stateFile, { ...window.getNormalBounds(), maximized: window.isMaximized() })
  // An app that ends destroys its window without a close event.
  window.on('blur', remember)
  window.on('close', (event) => {
    remember()
    if (isAgreed || options.isEnding()) return
    event.preventDefault()
    void options.mayClose().then((agreed) => {
      if (!agreed) return
      isAgreed = true
      window.close()
    })
  })
  void window.loadURL(options.developmentUrl ?? `${APP_ORIGIN}/index.html`)
  return window
}

/** Brings the window to the front, from the dock or the tray too. */
export function showWindow(window: BrowserWindow): void {
  if (window.isMinimized()) window.restore()
  window.show()
  window.focus()
}
