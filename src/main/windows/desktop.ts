/** The app as the desktop sees it: one instance, a window that can be closed while machines run, a tray to come back from. */
import { existsSync } from 'node:fs'
import { app, BrowserWindow, dialog, Menu, nativeImage, Tray } from 'electron'
import { createMainWindow, showWindow } from './main-window'
import { installMenu } from './menu'
import { serveRenderer } from './protocol'
import { hardenApp } from './security'
import type { PickRequest, Preferences } from '../../preload/contract'
import type { Words } from './words'

/** What the desktop must know of the manager. */
export interface Background {
  /** How many machines run now. */
  running(): number
  /** What the person chose for the end of the app. */
  onQuit(): Promise<Preferences['onQuit']>
  /** Ends every machine and lets the library go. */
  shutdown(how: 'suspend' | 'powerOff'): Promise<void>
}

export interface DesktopOptions {
  /** To begin with; `speak` changes them. */
  readonly words: Words
  readonly background: Background
  /** Built files. */
  readonly preload: string
  readonly rendererRoot: string
  readonly resources: string
  readonly developmentUrl?: string
  /** Called with each new window, to let it talk to the manager. */
  readonly onWindow: (window: BrowserWindow) => void
}

type CloseChoice = 'keep' | 'suspend' | 'powerOff' | 'cancel'

export class Desktop {
  private window: BrowserWindow | undefined
  private tray: Tray | undefined
  private isQuitting = false
  /** Chosen while the window closes, carried out when the app ends. */
  private how: 'suspend' | 'powerOff' | undefined

  private words: Words

  constructor(private readonly options: DesktopOptions) {
    this.words = options.words
  }

  /** Menus and dialogs are in this language from now on. */
  speak(words: Words): void {
    if (words === this.words) return
    this.words = words
    this.showMenu()
  }

  private showMenu(): void {
    installMenu({ words: this.words, platform: process.platform, window: () => this.window, quit: () => void this.quit() })
  }

  /** Call when Electron is ready. */
  open(): void {
    serveRenderer(this.options.rendererRoot)
    hardenApp((contents) => BrowserWindow.fromWebContents(contents), () => ({ title: this.words.openLinkTitle, open: this.words.openLink, cancel: this.words.cancel }))
    app.setAboutPanelOptions({ applicationName: 'Nestbox', applicationVersion: app.getVersion(), copyright: 'Apache-2.0' })
    this.showMenu()
    app.on('second-instance', () => this.show())
    app.on('activate', () => this.show())
    // Machines may outlive the window; `mayClose` decides when the process ends.
    app.on('window-all-closed', () => undefined)
    app.on('before-quit', (event) => {
      if (this.isQuitting) return
      event.preventDefault()
      void this.quit()
    })
    this.show()
  }

  /** The system's own dialog over a window. @returns null where none was chosen */
  async pickFile(window: BrowserWindow | null, { mode, title, path, extensions }: PickRequest): Promise<string | null> {
    const { words } = this
    const filters = extensions ? [{ name: extensions.map((extension) => `*.${extension}`).join(', '), extensions }, { name: words.allFiles, extensions: ['*'] }] : []
    const options = { title, filters, ...(path === undefined ? {} : { defaultPath: path }) }
    if (mode === 'save') {
      const { canceled, filePath } = await (window ? dialog.showSaveDialog(window, options) : dialog.showSaveDialog(options))
      return canceled || !filePath ? null : filePath
    }
    const { filePaths } = await (window ? dialog.showOpenDialog(window, { ...options, properties: ['openFile'] }) : dialog.showOpenDialog({ ...options, properties: ['openFile'] }))
    return filePaths[0] ?? null
  }

  /** Shows the window, made anew if it was closed. */
  show(): void {
    if (this.window) return showWindow(this.window)
    const { preload, resources, developmentUrl, onWindow } = this.options
    const icon = `${resources}/icon.png`
    const window = createMainWindow({
      preload,
      stateDirectory: app.getPath('userData'),
      ...(existsSync(icon) ? { icon } : {}),
      ...(developmentUrl ? { developmentUrl } : {}),
      isEnding: () => this.isQuitting,
      mayClose: () => this.mayClose(),
    })
    this.window = window
    window.on('closed', () => {
      this.window = undefined
      if (!this.tray && !this.isQuitting) void this.quit()
    })
    onWindow(window)
    this.hideTray()
  }

  /** As the person chose once for all, or chooses now. */
  private async ask(running: number): Promise<CloseChoice> {
    const { words } = this
    const chosen = await this.options.background.onQuit().catch(() => 'ask' as const)
    if (chosen !== 'ask') return chosen
    const options = {
      type: 'question' as const,
      message: words.closeTitle(running),
      detail: words.closeDetail,
      buttons: [words.keepRunning, words.suspendAll, words.powerOffAll, words.cancel],
      // Loses nothing, and leaves nothing running unseen.
      defaultId: 1,
      cancelId: 3,
      noLink: true,
    }
    const { response } = await (this.window ? dialog.showMessageBox(this.window, options) : dialog.showMessageBox(options))
    return (['keep', 'suspend', 'powerOff', 'cancel'] as const)[response] ?? 'cancel'
  }

  private async mayClose(): Promise<boolean> {
    const running = this.options.background.running()
    if (this.isQuitting || running === 0) return true
    const choice = await this.ask(running)
    if (choice === 'keep') this.showTray(running)
    else if (choice !== 'cancel') this.how = choice
    return choice !== 'cancel'
  }

  private async quit(): Promise<void> {
    if (this.isQuitting) return
    const running = this.options.background.running()
    if (running > 0 && this.window && this.how === undefined) {
      const choice = await this.ask(running)
      if (choice === 'cancel') return
      if (choice === 'keep') {
        this.showTray(running)
        this.window.destroy()
        return
      }
      this.how = choice
    }
    this.isQuitting = true
    await this.options.background.shutdown(this.how ?? 'suspend').catch((error: unknown) => console.error(error))
    this.window?.destroy()
    app.exit(0)
  }

  /** Without a tray (some Linux desktops) the app is found again by starting it a second time. */
  private showTray(running: number): void {
    const { words } = this
    if (this.tray) return
    this.tray = new Tray(nativeImage.createFromPath(`${this.options.resources}/tray.png`))
    this.tray.setToolTip(`Nestbox – ${words.runningCount(running)}`)
    this.tray.setContextMenu(Menu.buildFromTemplate([
      { label: words.show, click: () => this.show() },
      { type: 'separator' },
      { label: words.quit, click: () => void this.quit() },
    ]))
    this.tray.on('click', () => this.show())
  }

  private hideTray(): void {
    this.tray?.destroy()
    this.tray = undefined
  }
}
