/** `nestbox serve` on a library of its own, and pages of it in Chromium. NB_E2E_SLOW=6 slows them down (slow-page.ts). */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { chromium, type Browser, type BrowserContextOptions, type Page } from 'playwright-core'
import { watchPage } from './failure-pictures'
import { slowDown } from './slow-page'
import { createWorld, requireBuild, ROOT, type World } from './world'

const CHROMIUM = process.env.NESTBOX_CHROMIUM ?? '/usr/bin/chromium'
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']

export class ServedPages {
  /** Errors and error messages of all pages so far. */
  readonly problems: string[] = []

  private constructor(readonly world: World, private readonly server: ChildProcess, readonly browser: Browser, readonly address: string) {}

  /** @param known a library that is there already */
  static async start(known?: World): Promise<ServedPages> {
    requireBuild('out/cli/nestbox.cjs', 'out/main/vm-host.cjs', 'out/renderer/index.html')
    const world = known ?? await createWorld(false)
    const server = spawn(process.execPath, [join(ROOT, 'out/cli/nestbox.cjs'), 'serve', '--port', '0'], { env: world.env, stdio: ['ignore', 'pipe', 'pipe'] })
    try {
      return new ServedPages(world, server, await chromium.launch({ executablePath: CHROMIUM, args: FLAGS }), await addressOf(server))
    } catch (error) {
      server.kill()
      await world.dispose()
      throw error
    }
  }

  async open(options: BrowserContextOptions = {}): Promise<Page> {
    const context = await this.browser.newContext({ viewport: { width: 1280, height: 820 }, locale: 'en-US', ...options })
    const page = await context.newPage()
    watchPage(page)
    await slowDown(page)
    page.on('pageerror', (error) => this.problems.push(error.stack ?? error.message))
    page.on('console', (message) => {
      if (message.type() === 'error') this.problems.push(message.text())
    })
    await page.goto(this.address)
    return page
  }

  /** Ends server and browser; the library stays. Machines that still run are suspended into it first. */
  async stop(): Promise<void> {
    await this.browser.close()
    const ended = new Promise((resolve) => this.server.once('exit', resolve))
    this.server.kill('SIGTERM')
    await ended
  }

  async end(): Promise<void> {
    await this.stop()
    await this.world.dispose()
  }

  /** The command line on the same library. @returns what it printed @throws with what it complained of */
  cli(...args: readonly string[]): string {
    return execFileSync(process.execPath, [join(ROOT, 'out/cli/nestbox.cjs'), ...args], { env: this.world.env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
  }
}

/** Resolves with the address the server prints. */
function addressOf(server: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let output = ''
    const read = (chunk: Buffer): void => {
      output += chunk.toString()
      const match = /http:\/\/127\.0\.0\.1:\d+\/\S*/.exec(output)
      if (match) resolve(match[0])
    }
    server.stdout?.on('data', read)
    server.stderr?.on('data', read)
    server.once('exit', (code) => reject(new Error(`nestbox serve ended with ${code}:\n${output}`)))
  })
}
