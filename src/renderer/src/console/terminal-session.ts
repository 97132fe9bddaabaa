/**
 * The one place that knows xterm.js: a terminal bound to one console of one machine.
 * Bytes go straight from the source to the terminal and never enter reactive state.
 */
import { FitAddon } from '@xterm/addon-fit'
import { SearchAddon } from '@xterm/addon-search'
import { WebLinksAddon } from '@xterm/addon-web-links'
import { Terminal } from '@xterm/xterm'
import { CONSOLE_FONT, CONSOLE_THEME } from './terminal-theme'

/** A console that is read. */
export interface OpenConsole {
  /** The person came to this terminal: it answers what the guest asks from now on, and no other one. */
  focus(): void
  close(): void
}

/** A console as the api offers it. */
export interface ConsoleSource {
  /**
   * Delivers what was said so far, then everything new.
   * `done` must be called when the chunk has been drawn: the sender holds back while too much is unacknowledged.
   */
  open(onChunk: (chunk: string | Uint8Array, done: () => void) => void): Promise<OpenConsole>
  /** Keys for the guest. */
  write(text: string): void
}

export interface TerminalOptions {
  readonly fontSize: number
  readonly scrollback: number
  /** Called for key combinations the app keeps for itself, see {@link consoleCommand}. */
  readonly onCommand: (command: ConsoleCommand) => void
  readonly onError: (error: unknown) => void
  /** Called once, when there is something to read. */
  readonly onText?: () => void
}

export type ConsoleCommand = 'copy' | 'paste' | 'search' | 'leave' | 'next' | 'previous' | 'larger' | 'smaller' | 'normal'

/** By `KeyboardEvent.key`; with Shift some keyboards give the other sign of a key. */
const COMMANDS: Readonly<Record<string, ConsoleCommand>> = {
  c: 'copy', v: 'paste', f: 'search', l: 'leave', arrowright: 'next', arrowleft: 'previous', '+': 'larger', '=': 'larger', '-': 'smaller', _: 'smaller', 0: 'normal', ')': 'normal',
}

/**
 * The few combinations a console keeps from the guest; all need Ctrl+Shift (or Command), which no serial line can carry.
 */
export function consoleCommand(event: Pick<KeyboardEvent, 'key' | 'ctrlKey' | 'shiftKey' | 'metaKey' | 'altKey'>): ConsoleCommand | undefined {
  const hostCombination = (event.ctrlKey && event.shiftKey && !event.altKey) || (event.metaKey && !event.ctrlKey)
  if (!hostCombination) return undefined
  const key = event.key.toLowerCase()
  return Object.hasOwn(COMMANDS, key) ? COMMANDS[key] : undefined
}

export class TerminalSession {
  readonly terminal: Terminal
  private readonly fit = new FitAddon()
  private readonly searcher = new SearchAddon()
  private observer: ResizeObserver | undefined
  private console: OpenConsole | undefined
  private isDisposed = false
  private hasText = false
  private wantsFocus = false

  constructor(private readonly source: ConsoleSource, private readonly options: TerminalOptions) {
    this.terminal = new Terminal({
      allowProposedApi: true, // decorations of the search add-on
      cursorBlink: true,
      fontFamily: CONSOLE_FONT,
      fontSize: options.fontSize,
      lineHeight: 1.15,
      scrollback: options.scrollback,
      theme: CONSOLE_THEME,
    })
    this.terminal.loadAddon(this.fit)
    this.terminal.loadAddon(this.searcher)
    // The host asks before it opens an address a guest wrote (main/windows/security).
    this.terminal.loadAddon(new WebLinksAddon((_event, address) => window.open(address, '_blank', 'noopener,noreferrer')))
    this.terminal.attachCustomKeyEventHandler((event) => this.filterKey(event))
    this.terminal.onData((text) => this.source.write(text))
  }

  /** Puts the terminal into `element` and begins to read the console. */
  async start(element: HTMLElement): Promise<void> {
    // xterm measures its cells once: with the font that stands in for ours they would stay too small.
    if ('fonts' in document) {
      await document.fonts.load(`${this.options.fontSize}px ${CONSOLE_FONT}`).catch(() => [])
      if (this.isDisposed) return
    }
    this.terminal.open(element)
    this.terminal.textarea?.addEventListener('focus', () => this.console?.focus())
    if (this.wantsFocus) this.terminal.focus()
    this.observer = new ResizeObserver(() => this.refit())
    this.observer.observe(element)
    this.refit()
    const console = await this.source.open((chunk, done) => this.draw(chunk, done))
    if (this.isDisposed) console.close()
    else this.console = console
  }

  private draw(chunk: string | Uint8Array, done: () => void): void {
    if (this.isDisposed) return done()
    if (!this.hasText && chunk.length > 0) {
      this.hasText = true
      this.options.onText?.()
    }
    this.terminal.write(chunk, done)
  }

  /** Fits rows and columns to the element; nothing while it is hidden. */
  refit(): void {
    const { element } = this.terminal
    if (this.isDisposed || !element || element.clientWidth === 0 || element.clientHeight === 0) return
    this.fit.fit()
  }

  /** As soon as it is on the page. */
  focus(): void {
    this.wantsFocus = true
    if (this.terminal.element) this.terminal.focus()
  }

  setFontSize(size: number): void {
    this.terminal.options.fontSize = size
    this.refit()
  }

  get selection(): string {
    return this.terminal.getSelection()
  }

  async copy(): Promise<void> {
    if (!this.selection) return
    await navigator.clipboard.writeText(this.selection).catch((error: unknown) => this.options.onError(error))
  }

  /** The clipboard as keys for the guest: line ends become Enter, bracketed where the guest asked for it. */
  async paste(): Promise<void> {
    const text = await navigator.clipboard.readText().catch((error: unknown) => this.options.onError(error))
    if (text) this.terminal.paste(text)
  }

  /** @returns whether something was found */
  find(text: string, direction: 'next' | 'previous'): boolean {
    if (text === '') {
      this.searcher.clearDecorations()
      return true
    }
    const decorations = { matchOverviewRuler: '#e5b865', activeMatchColorOverviewRuler: '#f2777a', matchBackground: '#5a4a1e', activeMatchBackground: '#8a6a1c' }
    const options = { decorations, incremental: direction === 'next' }
    return direction === 'next' ? this.searcher.findNext(text, options) : this.searcher.findPrevious(text, options)
  }

  endSearch(): void {
    this.searcher.clearDecorations()
    this.terminal.clearSelection()
  }

  /** Empties the view; the text kept by the machine's log stays. */
  clear(): void {
    this.terminal.clear()
  }

  dispose(): void {
    if (this.isDisposed) return
    this.isDisposed = true
    this.observer?.disconnect()
    this.console?.close()
    this.terminal.dispose()
  }

  private filterKey(event: KeyboardEvent): boolean {
    const command = consoleCommand(event)
    if (!command) return true
    if (event.type === 'keydown') {
      event.preventDefault()
      this.options.onCommand(command)
    }
    return false
  }
}
