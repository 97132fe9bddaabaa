/** Where the window was: kept in one small file so it opens there again. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

export interface WindowState {
  readonly x?: number
  readonly y?: number
  readonly width: number
  readonly height: number
  readonly maximized: boolean
}

export interface Rectangle {
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
}

export const DEFAULT_WINDOW_STATE: WindowState = { width: 1280, height: 820, maximized: false }
const MIN_WIDTH = 640
const MIN_HEIGHT = 480

const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value)

/**
 * Makes a stored state safe to use: sizes within the screen, position dropped when no screen shows it any more.
 * @param stored what the file held, of any shape
 * @param screens work areas of the present displays
 */
export function sanitizeWindowState(stored: unknown, screens: readonly Rectangle[]): WindowState {
  if (typeof stored !== 'object' || stored === null) return DEFAULT_WINDOW_STATE
  const { x, y, width, height, maximized } = stored as Partial<Record<keyof WindowState, unknown>>
  if (!isNumber(width) || !isNumber(height)) return DEFAULT_WINDOW_STATE
  const size = { width: Math.max(MIN_WIDTH, Math.round(width)), height: Math.max(MIN_HEIGHT, Math.round(height)) }
  const isMaximized = maximized === true
  if (!isNumber(x) || !isNumber(y)) return { ...size, maximized: isMaximized }
  // A title bar must stay reachable: 100 px of the top edge inside some screen.
  const visible = screens.some((s) => x + size.width > s.x + 100 && x < s.x + s.width - 100 && y >= s.y && y < s.y + s.height - 50)
  return visible ? { x: Math.round(x), y: Math.round(y), ...size, maximized: isMaximized } : { ...size, maximized: isMaximized }
}

/** The stored state, or the default when the file is missing or damaged. */
export function loadWindowState(file: string, screens: readonly Rectangle[]): WindowState {
  try {
    return sanitizeWindowState(JSON.parse(readFileSync(file, 'utf8')), screens)
  } catch {
    return DEFAULT_WINDOW_STATE
  }
}

/** Best effort: a window position is never worth an error message. */
export function saveWindowState(file: string, state: WindowState): void {
  try {
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(`${file}.tmp`, JSON.stringify(state))
    renameSync(`${file}.tmp`, file)
  } catch {
    // read-only or full disk: the window opens at the default place next time
  }
}
