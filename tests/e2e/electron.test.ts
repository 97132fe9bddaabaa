/** The new user's path in the real Electron, and what its window must never allow. */
import { copyFile, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { _electron, type ElectronApplication, type Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { electronRuntime, type ElectronRuntime } from './electron-runtime'
import { Flow } from './flow'
import { createWorld, requireBuild, ROOT, SCREENSHOTS, type World } from './world'

let world: World
let runtime: ElectronRuntime
let app: ElectronApplication
let page: Page
let flow: Flow
const problems: string[] = []

async function launch(): Promise<void> {
  app = await _electron.launch({ executablePath: runtime.path, args: ['--no-sandbox', '--disable-gpu', ...runtime.args], env: world.env, timeout: 60_000 })
  page = await app.firstWindow()
  await app.evaluate(({ BrowserWindow }) => BrowserWindow.getAllWindows()[0].setSize(1280, 820))
  page.on('pageerror', (error) => problems.push(error.stack ?? error.message))
  flow = new Flow(page, { screenshots: SCREENSHOTS, prefix: 'electron' })
}

beforeAll(async () => {
  requireBuild('out/main/index.cjs', 'out/main/vm-host.cjs', 'out/preload/index.cjs', 'out/renderer/index.html')
  world = await createWorld(true)
  runtime = await electronRuntime()
  await launch()
}, 300_000)

afterAll(async () => {
  await app?.close()
  await world?.dispose()
})

describe('in Electron', () => {
  it('gives the page nothing but the contract', async () => {
    const seen = await page.evaluate(() => ({
      bridge: Object.keys((window as unknown as { nestbox: object }).nestbox).sort(),
      require: typeof (globalThis as Record<string, unknown>).require,
      process: typeof (globalThis as Record<string, unknown>).process,
    }))
    expect(seen).toEqual({ bridge: ['call', 'subscribe'], require: 'undefined', process: 'undefined' })
    const preferences = await app.evaluate(({ BrowserWindow }) => {
      const [window] = BrowserWindow.getAllWindows()
      return (window.webContents as unknown as { getLastWebPreferences(): Record<string, unknown> }).getLastWebPreferences()
    })
    expect(preferences).toMatchObject({ sandbox: true, contextIsolation: true, nodeIntegration: false })
  })

  it('creates and boots a machine from the starter image', () => flow.createFromStarter())
  it('answers uname in the terminal', () => flow.askUname())
  it('pauses and resumes', () => flow.pauseAndResume())

  it('takes a snapshot and goes back to it', () => flow.snapshotAndRestore())

  it('shows figures', async () => {
    const picture = await flow.lookAtOverview()
    await mkdir(join(ROOT, 'docs/images'), { recursive: true })
    await copyFile(picture, join(ROOT, 'docs/images/main-window.png'))
  })

  it('powers off from inside the guest', () => flow.powerOffFromInside())
  it('deletes to the trash and restores', () => flow.deleteAndRestore())

  it('finds machines and console text again after a restart', async () => {
    await app.close()
    await launch()
    await flow.machine('My first Linux').waitFor()
    await page.getByRole('tab', { name: 'Console' }).click()
    await flow.waitForText(/uname -a/, 30_000)
    await flow.screenshot('9-restarted')
  })

  it('made no error in the page', () => {
    expect(problems).toEqual([])
  })

  // Last: Playwright waits for ever for the navigation that never comes.
  it('neither navigates away, nor opens windows, nor runs foreign scripts', async () => {
    const before = page.url()
    await page.evaluate(() => {
      location.href = 'https://example.org/'
    })
    await page.waitForTimeout(500)
    expect(page.url()).toBe(before)
    await page.evaluate(() => window.open('file:///etc/passwd'))
    expect(app.windows()).toHaveLength(1)
    const ran = await page.evaluate(async () => {
      const script = document.createElement('script')
      script.textContent = 'window.foreign = true'
      document.head.append(script)
      await new Promise((resolve) => setTimeout(resolve, 50))
      return 'foreign' in window
    })
    expect(ran).toBe(false)
  })
})
