/**
 * The built app in the real Electron: started, ended and started again on one library, with the desktop's own dialogs answered.
 * NB_E2E_SLOW=6 slows its window down (slow-page.ts).
 */
import { spawn } from 'node:child_process'
import { _electron, type ElectronApplication, type Page } from 'playwright-core'
import { electronRuntime, type ElectronRuntime } from './electron-runtime'
import { watchPage } from './failure-pictures'
import { Flow } from './flow'
import { slowDown } from './slow-page'
import { createWorld, requireBuild, SCREENSHOTS, type World } from './world'

/** Buttons of the question at the end of the app while machines run. */
export const Quit = { KEEP: 0, SUSPEND: 1, POWER_OFF: 2, CANCEL: 3 } as const

/** What the app asked in a dialog of the desktop. */
export interface Asked {
  readonly title?: string
  readonly message?: string
  readonly buttons?: readonly string[]
  readonly defaultPath?: string
  readonly defaultId?: number
}

/** In the main process, where the stand-ins of the dialogs live. */
interface Recorded {
  asked?: Asked[]
}

export class DesktopApp {
  app!: ElectronApplication
  page!: Page
  flow!: Flow
  /** Errors of all pages so far. */
  readonly problems: string[] = []
  private runtime: ElectronRuntime | undefined

  private constructor(readonly world: World, private readonly prefix: string) {
    requireBuild('out/main/index.cjs', 'out/main/vm-host.cjs', 'out/preload/index.cjs', 'out/renderer/index.html')
  }

  /** A first start, on an empty library. @param prefix of the screenshots */
  static async start(prefix: string): Promise<DesktopApp> {
    const world = await createWorld(true)
    const desktop = new DesktopApp(world, prefix)
    try {
      await desktop.launch()
    } catch (error) {
      await world.dispose()
      throw error
    }
    return desktop
  }

  async launch(): Promise<void> {
    const { path, args } = await this.program()
    this.app = await _electron.launch({ executablePath: path, args, env: this.world.env, timeout: 60_000 })
    await this.follow(await this.app.firstWindow())
  }

  private async program(): Promise<{ readonly path: string; readonly args: string[] }> {
    this.runtime ??= await electronRuntime()
    const { path, args } = this.runtime
    return { path, args: ['--no-sandbox', '--disable-gpu', ...args] }
  }

  /** Starts it once more while it runs. @returns the second one's exit code */
  async startAgain(): Promise<number | null> {
    const { path, args } = await this.program()
    const second = spawn(path, args, { env: this.world.env, stdio: 'ignore', timeout: 60_000 })
    return new Promise((resolve) => second.once('exit', (code) => resolve(code)))
  }

  /** Takes a window over that was opened since. */
  async follow(page: Page): Promise<void> {
    this.page = page
    watchPage(page)
    await slowDown(page)
    await this.app.evaluate(({ BrowserWindow }) => BrowserWindow.getAllWindows()[0].setSize(1280, 820))
    page.on('pageerror', (error) => this.problems.push(error.stack ?? error.message))
    this.flow = new Flow(page, { screenshots: SCREENSHOTS, prefix: this.prefix })
  }

  /** The next file dialogs choose these, one after the other; then none. */
  async willChoose(...paths: readonly string[]): Promise<void> {
    await this.app.evaluate(({ dialog }, answers) => {
      const recorded = globalThis as Recorded
      recorded.asked = []
      const next = (...given: unknown[]): string | undefined => {
        recorded.asked?.push(given[given.length - 1] as Asked)
        return answers.shift()
      }
      Object.assign(dialog, {
        showOpenDialog: (...given: unknown[]) => {
          const path = next(...given)
          return Promise.resolve({ canceled: path === undefined, filePaths: path === undefined ? [] : [path] })
        },
        showSaveDialog: (...given: unknown[]) => {
          const path = next(...given)
          return Promise.resolve({ canceled: path === undefined, filePath: path })
        },
      })
    }, [...paths])
  }

  /** Every question is answered with this button. */
  async willAnswer(button: number): Promise<void> {
    await this.app.evaluate(({ dialog }, response) => {
      const recorded = globalThis as Recorded
      recorded.asked = []
      Object.assign(dialog, {
        showMessageBox: (...given: unknown[]) => {
          recorded.asked?.push(given[given.length - 1] as Asked)
          return Promise.resolve({ response, checkboxChecked: false })
        },
      })
    }, button)
  }

  /** What was asked since the last `willChoose` or `willAnswer`. */
  async asked(): Promise<readonly Asked[]> {
    return await this.app.evaluate(() => (globalThis as Recorded).asked?.map(({ title, message, buttons, defaultPath, defaultId }) => ({ title, message, buttons, defaultPath, defaultId })) ?? []) as readonly Asked[]
  }

  /** As the person does it from the menu. The app may ask first. */
  async quit(): Promise<void> {
    await this.app.evaluate(({ app }) => app.quit())
  }

  /** Resolves when the process is gone. */
  ended(): Promise<void> {
    const child = this.app.process()
    if (child.exitCode !== null) return Promise.resolve()
    return new Promise((resolve) => child.once('exit', () => resolve()))
  }

  async close(): Promise<void> {
    await this.app.close()
  }

  /** Ends the app, whatever runs in it, and removes its library. */
  async end(): Promise<void> {
    // It may have ended already.
    await this.willAnswer(Quit.SUSPEND).catch(() => undefined)
    await this.close().catch(() => undefined)
    await this.world.dispose()
  }
}
