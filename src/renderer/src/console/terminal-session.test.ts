import { beforeEach, describe, expect, it, vi } from 'vitest'

class FakeTerminal {
  static last: FakeTerminal
  options: Record<string, unknown>
  element: HTMLElement | undefined
  readonly textarea = document.createElement('textarea')
  written: [string | Uint8Array, () => void][] = []
  isDisposed = false
  onKey: ((event: KeyboardEvent) => boolean) | undefined
  onText: ((text: string) => void) | undefined
  constructor(options: Record<string, unknown>) {
    this.options = options
    FakeTerminal.last = this
  }

  loadAddon(): void { /* add-ons are tested in a real browser */ }
  attachCustomKeyEventHandler(handler: (event: KeyboardEvent) => boolean): void { this.onKey = handler }
  onData(handler: (text: string) => void): void { this.onText = handler }
  open(element: HTMLElement): void { this.element = element }
  write(chunk: string | Uint8Array, done: () => void): void { this.written.push([chunk, done]) }
  paste(text: string): void { this.onText?.(text.replaceAll('\n', '\r')) }
  getSelection(): string { return 'selected' }
  focuses = 0
  focus(): void { this.focuses++ }
  dispose(): void { this.isDisposed = true }
}

vi.mock('@xterm/xterm', () => ({ Terminal: FakeTerminal }))
const { TerminalSession, consoleCommand } = await import('./terminal-session')

const key = (name: string, init: KeyboardEventInit = {}): KeyboardEvent => new KeyboardEvent('keydown', { key: name, cancelable: true, ...init })

function start(opening: Promise<void> = Promise.resolve(), onText = vi.fn()) {
  const typed: string[] = []
  const onCommand = vi.fn()
  const close = vi.fn()
  const focus = vi.fn()
  let deliver: (chunk: string, done: () => void) => void = () => undefined
  const source = {
    open: async (onChunk: typeof deliver) => {
      deliver = onChunk
      await opening
      return { close, focus }
    },
    write: (text: string) => void typed.push(text),
  }
  const session = new TerminalSession(source, { fontSize: 13, scrollback: 100, onCommand, onError: vi.fn(), onText })
  const started = session.start(document.createElement('div'))
  return { session, started, typed, onCommand, close, focus, deliver: (chunk: string, done: () => void) => deliver(chunk, done) }
}

describe('terminal session', () => {
  beforeEach(() => {
    vi.stubGlobal('ResizeObserver', class { observe(): void { /* size never changes here */ } disconnect(): void { /* same */ } })
  })

  it('acknowledges a chunk only when the terminal has drawn it', async () => {
    const { deliver, started } = start()
    await started
    const done = vi.fn()
    deliver('hello', done)
    expect(done).not.toHaveBeenCalled()
    const [[chunk, drawn]] = FakeTerminal.last.written
    expect(chunk).toBe('hello')
    drawn()
    expect(done).toHaveBeenCalledOnce()
  })

  it('never holds the sender back after it was disposed', async () => {
    const { session, deliver, started, close } = start()
    await started
    session.dispose()
    session.dispose()
    expect(close).toHaveBeenCalledOnce()
    expect(FakeTerminal.last.isDisposed).toBe(true)
    const done = vi.fn()
    deliver('late', done)
    expect(done).toHaveBeenCalledOnce()
    expect(FakeTerminal.last.written).toEqual([])
  })

  it('answers what the guest asks once a person has come to it', async () => {
    const { started, focus } = start()
    // Before the console is open: the newest answers anyway.
    FakeTerminal.last.textarea.dispatchEvent(new Event('focus'))
    await started
    expect(focus).not.toHaveBeenCalled()
    FakeTerminal.last.textarea.dispatchEvent(new Event('focus'))
    expect(focus).toHaveBeenCalledOnce()
  })

  it('closes a console that opened after the dispose', async () => {
    let open: () => void = () => undefined
    const { session, started, close } = start(new Promise((resolve) => { open = resolve }))
    session.dispose()
    expect(close).not.toHaveBeenCalled()
    open()
    await started
    expect(close).toHaveBeenCalledOnce()
  })

  it('sends keys and pasted text to the guest', async () => {
    const { session, typed, started } = start()
    await started
    FakeTerminal.last.onText?.('l')
    vi.stubGlobal('navigator', { ...navigator, clipboard: { readText: () => Promise.resolve('a\nb') } })
    await session.paste()
    expect(typed).toEqual(['l', 'a\rb'])
    vi.unstubAllGlobals()
  })

  it('keeps only Ctrl+Shift combinations from the guest', () => {
    const { onCommand } = start()
    const filter = FakeTerminal.last.onKey
    expect(filter?.(key('c', { ctrlKey: true }))).toBe(true)
    expect(filter?.(key('n', { ctrlKey: true }))).toBe(true)
    const search = key('F', { ctrlKey: true, shiftKey: true })
    expect(filter?.(search)).toBe(false)
    expect(search.defaultPrevented).toBe(true)
    expect(onCommand).toHaveBeenCalledWith('search')
    expect(consoleCommand(key('l', { ctrlKey: true, shiftKey: true }))).toBe('leave')
    expect(consoleCommand(key('x', { ctrlKey: true, shiftKey: true }))).toBeUndefined()
  })

  it.each([['ArrowRight', 'next'], ['ArrowLeft', 'previous'], ['+', 'larger'], ['=', 'larger'], ['_', 'smaller'], ['-', 'smaller'], [')', 'normal'], ['0', 'normal'], ['toString', undefined]])(
    'Ctrl+Shift+%s is %s', (name, command) => {
      expect(consoleCommand(key(name, { ctrlKey: true, shiftKey: true }))).toBe(command)
      expect(consoleCommand(key(name, { ctrlKey: true }))).toBeUndefined()
    })

  it('takes the focus when it is on the page, though it was asked before', async () => {
    let load: () => void = () => undefined
    Object.defineProperty(document, 'fonts', { configurable: true, value: { load: () => new Promise<void>((resolve) => { load = resolve }) } })
    try {
      const { session, started } = start()
      session.focus()
      expect([FakeTerminal.last.element, FakeTerminal.last.focuses]).toEqual([undefined, 0])
      load()
      await started
      expect(FakeTerminal.last.element).toBeDefined()
      expect(FakeTerminal.last.focuses).toBe(1)
    } finally {
      Reflect.deleteProperty(document, 'fonts')
    }
  })

  it('says once when there is something to read', async () => {
    const onText = vi.fn()
    const { started, deliver } = start(Promise.resolve(), onText)
    await started
    deliver('', vi.fn())
    expect(onText).not.toHaveBeenCalled()
    deliver('hello', vi.fn())
    deliver('again', vi.fn())
    expect(onText).toHaveBeenCalledOnce()
  })
})
