/**
 * The application menu. Its commands are the renderer's: an item replays its own key combination into the page,
 * so there is one table of commands and the preload bridge needs no extra channel.
 */
import { Menu, type BrowserWindow, type MenuItemConstructorOptions } from 'electron'
import type { Words } from './words'

type Modifier = 'control' | 'meta' | 'shift' | 'alt'

/** Turns `CmdOrCtrl+Shift+N` into what `sendInputEvent` wants. */
export function toInputEvent(accelerator: string, platform: NodeJS.Platform): { keyCode: string; modifiers: Modifier[] } {
  const parts = accelerator.split('+')
  const modifiers = parts.slice(0, -1).map((part): Modifier => {
    if (part === 'CmdOrCtrl') return platform === 'darwin' ? 'meta' : 'control'
    return part === 'Shift' ? 'shift' : 'alt'
  })
  return { keyCode: parts[parts.length - 1], modifiers }
}

export interface MenuOptions {
  readonly words: Words
  readonly platform: NodeJS.Platform
  readonly window: () => BrowserWindow | undefined
  readonly quit: () => void
}

function command(label: string, accelerator: string, options: MenuOptions): MenuItemConstructorOptions {
  return {
    label,
    accelerator,
    registerAccelerator: false, // the page listens itself: a console must be able to keep the key for its guest
    click: () => {
      const contents = options.window()?.webContents
      if (!contents) return
      const event = toInputEvent(accelerator, options.platform)
      contents.sendInputEvent({ type: 'keyDown', ...event })
      contents.sendInputEvent({ type: 'keyUp', ...event })
    },
  }
}

export function menuTemplate(options: MenuOptions): MenuItemConstructorOptions[] {
  const { words } = options
  const item = (label: string, accelerator: string): MenuItemConstructorOptions => command(label, accelerator, options)
  const line: MenuItemConstructorOptions = { type: 'separator' }
  return [
    {
      label: words.file,
      submenu: [
        item(words.newMachine, 'CmdOrCtrl+N'),
        line,
        item(words.trash, 'CmdOrCtrl+Shift+Delete'),
        item(words.preferences, 'CmdOrCtrl+,'),
        line,
        { label: words.quit, accelerator: 'CmdOrCtrl+Q', registerAccelerator: options.platform === 'darwin', click: options.quit },
      ],
    },
    { label: words.edit, submenu: [{ role: 'undo' }, { role: 'redo' }, line, { role: 'cut', registerAccelerator: false },
      { role: 'copy', registerAccelerator: false }, { role: 'paste', registerAccelerator: false }, line, item(words.find, 'CmdOrCtrl+F')] },
    {
      label: words.machine,
      submenu: [
        item(words.start, 'CmdOrCtrl+Enter'),
        item(words.pause, 'CmdOrCtrl+P'),
        item(words.reset, 'CmdOrCtrl+R'),
        item(words.powerOff, 'CmdOrCtrl+H'),
        line,
        item(words.settings, 'CmdOrCtrl+S'),
        item(words.rename, 'F2'),
        item(words.log, 'CmdOrCtrl+L'),
        line,
        item(words.delete, 'Delete'),
      ],
    },
    { label: words.view, submenu: [item(words.tasks, 'CmdOrCtrl+J'), line, { role: 'zoomIn' }, { role: 'zoomOut' }, { role: 'resetZoom' },
      { role: 'togglefullscreen' }] },
    { label: words.window, submenu: [{ role: 'minimize' }, { role: 'close', registerAccelerator: false }] },
    { label: words.help, submenu: [item(words.shortcuts, 'F1')] },
  ]
}

export function installMenu(options: MenuOptions): void {
  Menu.setApplicationMenu(Menu.buildFromTemplate(menuTemplate(options)))
}
