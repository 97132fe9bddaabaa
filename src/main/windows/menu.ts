/**
 * The application menu. Its commands are the renderer's: an item sends the contract's `app.command` event to the window.
 * The page listens for the keys itself, because a console must be able to keep them for its guest.
 */
import { Menu, type BrowserWindow, type MenuItemConstructorOptions } from 'electron'
import { EVENT_CHANNEL } from '../../preload/contract/channels'
import type { AppCommand } from '../../preload/contract/events'
import type { Words } from './words'

export interface MenuOptions {
  readonly words: Words
  readonly platform: NodeJS.Platform
  readonly window: () => BrowserWindow | undefined
  readonly quit: () => void
}

function commandItem(label: string, command: AppCommand, accelerator: string, options: MenuOptions): MenuItemConstructorOptions {
  return {
    label,
    accelerator,
    registerAccelerator: false, // shown, not taken
    click: () => options.window()?.webContents.send(EVENT_CHANNEL, 'app.command', { command }),
  }
}

export function menuTemplate(options: MenuOptions): MenuItemConstructorOptions[] {
  const { words } = options
  const item = (label: string, command: AppCommand, accelerator: string): MenuItemConstructorOptions =>
    commandItem(label, command, accelerator, options)
  const line: MenuItemConstructorOptions = { type: 'separator' }
  return [
    {
      label: words.file,
      submenu: [
        item(words.newMachine, 'new', 'CmdOrCtrl+N'),
        item(words.importMachine, 'import', 'CmdOrCtrl+I'),
        line,
        item(words.trash, 'trash', 'CmdOrCtrl+Shift+Delete'),
        item(words.preferences, 'preferences', 'CmdOrCtrl+,'),
        line,
        { label: words.quit, accelerator: 'CmdOrCtrl+Q', registerAccelerator: options.platform === 'darwin', click: options.quit },
      ],
    },
    { label: words.edit, submenu: [{ role: 'undo' }, { role: 'redo' }, line, { role: 'cut', registerAccelerator: false },
      { role: 'copy', registerAccelerator: false }, { role: 'paste', registerAccelerator: false }, line, item(words.find, 'search', 'CmdOrCtrl+F')] },
    {
      label: words.machine,
      submenu: [
        item(words.start, 'start', 'CmdOrCtrl+Enter'),
        item(words.pause, 'pauseResume', 'CmdOrCtrl+P'),
        item(words.reset, 'reset', 'CmdOrCtrl+R'),
        item(words.powerOff, 'powerOff', 'CmdOrCtrl+H'),
        line,
        item(words.takeSnapshot, 'takeSnapshot', 'CmdOrCtrl+T'),
        line,
        item(words.settings, 'settings', 'CmdOrCtrl+S'),
        item(words.rename, 'rename', 'F2'),
        item(words.log, 'log', 'CmdOrCtrl+L'),
        line,
        item(words.delete, 'delete', 'Delete'),
      ],
    },
    { label: words.view, submenu: [item(words.tasks, 'tasks', 'CmdOrCtrl+J'), item(words.disks, 'disks', 'CmdOrCtrl+D'), line, { role: 'zoomIn' }, { role: 'zoomOut' }, { role: 'resetZoom' },
      { role: 'togglefullscreen' }] },
    { label: words.window, submenu: [{ role: 'minimize' }, { role: 'close', registerAccelerator: false }] },
    { label: words.help, submenu: [item(words.shortcuts, 'help', 'F1')] },
  ]
}

export function installMenu(options: MenuOptions): void {
  Menu.setApplicationMenu(Menu.buildFromTemplate(menuTemplate(options)))
}
