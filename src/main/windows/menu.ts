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

type Item = (label: string, command: AppCommand, accelerator: string) => MenuItemConstructorOptions

const LINE: MenuItemConstructorOptions = { type: 'separator' }

function fileMenu({ words, platform, quit }: MenuOptions, item: Item): MenuItemConstructorOptions[] {
  return [
    item(words.newMachine, 'new', 'CmdOrCtrl+N'),
    item(words.importMachine, 'import', 'CmdOrCtrl+I'),
    LINE,
    item(words.trash, 'trash', 'CmdOrCtrl+Shift+Delete'),
    item(words.preferences, 'preferences', 'CmdOrCtrl+,'),
    LINE,
    { label: words.quit, accelerator: 'CmdOrCtrl+Q', registerAccelerator: platform === 'darwin', click: quit },
  ]
}

function machineMenu({ words }: MenuOptions, item: Item): MenuItemConstructorOptions[] {
  return [
    item(words.start, 'start', 'CmdOrCtrl+Enter'),
    item(words.pause, 'pauseResume', 'CmdOrCtrl+P'),
    item(words.reset, 'reset', 'CmdOrCtrl+R'),
    item(words.powerOff, 'powerOff', 'CmdOrCtrl+H'),
    item(words.forceStop, 'forceStop', 'CmdOrCtrl+Shift+H'),
    LINE,
    item(words.takeSnapshot, 'takeSnapshot', 'CmdOrCtrl+T'),
    LINE,
    item(words.settings, 'settings', 'CmdOrCtrl+S'),
    item(words.rename, 'rename', 'F2'),
    item(words.log, 'log', 'CmdOrCtrl+L'),
    LINE,
    item(words.delete, 'delete', 'Delete'),
  ]
}

/** With labels of ours: Electron's own are in English only. */
function editMenu({ words }: MenuOptions, item: Item): MenuItemConstructorOptions[] {
  return [
    { role: 'undo', label: words.undo },
    { role: 'redo', label: words.redo },
    LINE,
    { role: 'cut', label: words.cut, registerAccelerator: false },
    { role: 'copy', label: words.copy, registerAccelerator: false },
    { role: 'paste', label: words.paste, registerAccelerator: false },
    LINE,
    item(words.find, 'search', 'CmdOrCtrl+F'),
  ]
}

function viewMenu({ words }: MenuOptions, item: Item): MenuItemConstructorOptions[] {
  return [
    item(words.overview, 'overview', 'CmdOrCtrl+O'),
    item(words.console, 'console', 'CmdOrCtrl+K'),
    item(words.snapshots, 'snapshots', 'CmdOrCtrl+Shift+T'),
    item(words.consolesSideBySide, 'consolesSideBySide', 'CmdOrCtrl+Shift+K'),
    item(words.tasks, 'tasks', 'CmdOrCtrl+J'),
    item(words.disks, 'disks', 'CmdOrCtrl+D'),
    LINE,
    { role: 'zoomIn', label: words.zoomIn },
    { role: 'zoomOut', label: words.zoomOut },
    { role: 'resetZoom', label: words.resetZoom },
    { role: 'togglefullscreen', label: words.fullScreen },
  ]
}

export function menuTemplate(options: MenuOptions): MenuItemConstructorOptions[] {
  const { words } = options
  const item: Item = (label, command, accelerator) => commandItem(label, command, accelerator, options)
  return [
    { label: words.file, submenu: fileMenu(options, item) },
    { label: words.edit, submenu: editMenu(options, item) },
    { label: words.machine, submenu: machineMenu(options, item) },
    { label: words.view, submenu: viewMenu(options, item) },
    { label: words.window, submenu: [{ role: 'minimize', label: words.minimize }, { role: 'close', label: words.close, registerAccelerator: false }] },
    { label: words.help, submenu: [item(words.shortcuts, 'help', 'F1'), LINE, { role: 'about', label: words.about }] },
  ]
}

export function installMenu(options: MenuOptions): void {
  Menu.setApplicationMenu(Menu.buildFromTemplate(menuTemplate(options)))
}
