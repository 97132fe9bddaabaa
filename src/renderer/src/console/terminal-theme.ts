/** Colours of the console: one palette for both themes of the app, because guests colour their text for a dark ground. */
import type { ITheme } from '@xterm/xterm'

export const CONSOLE_FONT = "'JetBrains Mono Variable', ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"

export const CONSOLE_THEME: ITheme = {
  background: '#0f121a',
  foreground: '#d5dae6',
  cursor: '#9aa4ff',
  cursorAccent: '#0f121a',
  selectionBackground: '#3d4674',
  black: '#1c212c',
  red: '#f2777a',
  green: '#6fce97',
  yellow: '#e5b865',
  blue: '#7fa7f5',
  magenta: '#c792e9',
  cyan: '#66c9d0',
  white: '#c4cbd9',
  brightBlack: '#6d7689',
  brightRed: '#ff9a9c',
  brightGreen: '#8fe3b2',
  brightYellow: '#f7d08a',
  brightBlue: '#a3c1ff',
  brightMagenta: '#ddb4f7',
  brightCyan: '#8fe1e6',
  brightWhite: '#f4f6fb',
}
