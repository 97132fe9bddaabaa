/** A peer's process with the guest's serial line on its standard input and output. */
import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { cpuSeconds } from './process-figures.mjs'

const TAIL = 600
/** Ended with this process, however that ends: QEMU would run on without us. */
const running = new Set()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** Text with the time each piece came. */
export class TimedText {
  text = ''
  #pieces = []

  add(more, at) {
    this.text += more
    this.#pieces.push({ end: this.text.length, at })
  }

  /** When the text up to `end` had come. */
  timeAt(end) {
    return this.#pieces.find((piece) => piece.end >= end)?.at
  }
}

export class GuestConsole {
  said = new TimedText()
  errors = ''
  /** Where the next search begins. */
  position = 0
  exited = undefined
  #checks = new Set()

  /** @param peer what to start, from `peerCommand` */
  constructor({ command, args, env }) {
    this.started = performance.now()
    this.child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, ...env } })
    running.add(this.child)
    this.child.stdout.on('data', (chunk) => this.#hear(chunk.toString('latin1')))
    this.child.stderr.on('data', (chunk) => (this.errors += chunk.toString('latin1')))
    // The guest may be gone while we type.
    this.child.stdin.on('error', () => undefined)
    this.ended = new Promise((resolve) => {
      const over = (how) => {
        this.exited ??= how
        running.delete(this.child)
        this.#wake()
        resolve()
      }
      this.child.on('error', (error) => over(error.message))
      this.child.on('close', (code, signal) => over(signal ? `signal ${signal}` : `exit code ${code}`))
    })
  }

  #hear(text) {
    this.said.add(text, performance.now())
    this.#wake()
  }

  #wake() {
    for (const check of [...this.#checks]) check()
  }

  type(text) {
    this.child.stdin.write(text)
  }

  /**
   * Waits for the pattern in what is said after the last match.
   * @returns the match, when its last character came (milliseconds of `performance.now`), and CPU seconds used until then
   * @throws Error where it does not come in time or the process ends before
   */
  async wait(pattern, seconds) {
    return new Promise((resolve, reject) => {
      const settle = (act, value) => {
        clearTimeout(timer)
        this.#checks.delete(check)
        act(value)
      }
      const check = () => {
        const match = pattern.exec(this.said.text.slice(this.position))
        if (match) {
          this.position += match.index + match[0].length
          settle(resolve, { match, at: this.said.timeAt(this.position), cpu: cpuSeconds(this.child.pid) })
        } else if (this.exited !== undefined) settle(reject, new Error(`ended (${this.exited}) before ${pattern}: ${this.tail()}`))
      }
      const timer = setTimeout(() => settle(reject, new Error(`no ${pattern} in ${seconds} s: ${this.tail()}`)), seconds * 1000)
      this.#checks.add(check)
      check()
    })
  }

  /** The last that was heard, for messages. */
  tail() {
    return `${this.said.text.slice(-TAIL)}${this.errors ? `\n[stderr] ${this.errors.slice(-TAIL)}` : ''}`
  }

  saveLog(path) {
    writeFileSync(path, `${this.said.text}\n${this.errors ? `--- stderr ---\n${this.errors}` : ''}`)
  }

  /** Waits for the process to end by itself for a while, then ends it. */
  async end(seconds) {
    const timer = setTimeout(() => this.child.kill('SIGKILL'), seconds * 1000)
    await this.ended
    clearTimeout(timer)
  }
}
