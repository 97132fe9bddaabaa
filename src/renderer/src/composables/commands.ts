/** The app's commands with their keys: one table for the shortcuts, the tooltips and the help page. */

import type { AppCommand } from '@contract/index'

export type CommandName = AppCommand

/**
 * The second keys are for the page in a browser, which keeps Ctrl+N for itself.
 * N, S, F, L, P, R and H follow VirtualBox's manager (reference: features.md §4).
 */
export const KEYS: Readonly<Record<CommandName, readonly string[]>> = {
  new: ['Mod+N', 'Alt+N'],
  import: ['Mod+I', 'Alt+I'],
  search: ['Mod+F', '/'],
  settings: ['Mod+S'],
  rename: ['F2'],
  delete: ['Delete'],
  start: ['Mod+Enter'],
  pauseResume: ['Mod+P'],
  reset: ['Mod+R'],
  powerOff: ['Mod+H'],
  forceStop: ['Mod+Shift+H'],
  takeSnapshot: ['Mod+T', 'Alt+T'],
  snapshots: ['Mod+Shift+T'],
  console: ['Mod+K'],
  log: ['Mod+L'],
  overview: ['Mod+O'],
  consolesSideBySide: ['Mod+Shift+K'],
  trash: ['Mod+Shift+Delete'],
  disks: ['Mod+D', 'Alt+D'],
  tasks: ['Mod+J'],
  preferences: ['Mod+,'],
  help: ['F1', '?'],
  selectAll: ['Mod+A'],
}

export interface HelpLine {
  readonly label: string
  readonly keys: readonly string[]
}

export interface HelpSection {
  readonly title: string
  readonly lines: readonly HelpLine[]
  readonly note?: string
}

const line = (name: CommandName, label: string): HelpLine => ({ label, keys: KEYS[name] })

export const HELP: readonly HelpSection[] = [
  {
    title: 'help.machines',
    lines: [
      line('new', 'action.new'), line('import', 'action.import'), line('start', 'action.start'), line('pauseResume', 'action.pause'), line('reset', 'action.reset'),
      line('powerOff', 'action.powerOff'), line('forceStop', 'action.forceStop'), line('takeSnapshot', 'action.takeSnapshot'), line('settings', 'action.settings'),
      line('rename', 'action.rename'), line('delete', 'action.delete'),
    ],
  },
  {
    title: 'help.view',
    lines: [
      line('search', 'action.search'), line('overview', 'action.overview'), line('console', 'action.console'),
      line('consolesSideBySide', 'action.consolesSideBySide'), line('snapshots', 'action.snapshots'), line('log', 'action.log'), line('tasks', 'action.tasks'),
      line('disks', 'action.disks'), line('trash', 'action.trash'), line('preferences', 'action.preferences'), line('help', 'action.help'),
      { label: 'help.moveInList', keys: ['ArrowUp', 'ArrowDown'] },
      { label: 'help.extendSelection', keys: ['Shift+ArrowDown'] },
      line('selectAll', 'action.selectAll'),
      { label: 'help.contextMenu', keys: ['Shift+F10'] },
    ],
  },
  {
    title: 'help.consoleKeys',
    lines: [
      { label: 'help.copySelection', keys: ['Mod+Shift+C'] }, { label: 'help.paste', keys: ['Mod+Shift+V'] },
      { label: 'help.find', keys: ['Mod+Shift+F'] }, { label: 'help.fontSize', keys: ['Mod+Shift+Plus', 'Mod+Shift+-', 'Mod+Shift+0'] },
      { label: 'help.nextConsole', keys: ['Mod+Shift+ArrowRight', 'Mod+Shift+ArrowLeft'] }, { label: 'help.leave', keys: ['Mod+Shift+L'] },
    ],
    note: 'help.consoleNote',
  },
]
