/** The new user's path in the real Electron, and what its window must never allow. */
import { copyFile, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { DesktopApp } from './desktop-app'
import { ROOT } from './world'

let desktop: DesktopApp

beforeAll(async () => {
  desktop = await DesktopApp.start('electron')
}, 300_000)

afterAll(() => desktop?.end())

describe('in Electron', () => {
  it('gives the page nothing but the contract', async () => {
    const seen = await desktop.page.evaluate(() => ({
      bridge: Object.keys((window as unknown as { nestbox: object }).nestbox).sort(),
      require: typeof (globalThis as Record<string, unknown>).require,
      process: typeof (globalThis as Record<string, unknown>).process,
    }))
    expect(seen).toEqual({ bridge: ['call', 'subscribe'], require: 'undefined', process: 'undefined' })
    const preferences = await desktop.app.evaluate(({ BrowserWindow }) => {
      const [window] = BrowserWindow.getAllWindows()
      return (window.webContents as unknown as { getLastWebPreferences(): Record<string, unknown> }).getLastWebPreferences()
    })
    expect(preferences).toMatchObject({ sandbox: true, contextIsolation: true, nodeIntegration: false })
  })

  it('creates and boots a machine from the starter image', () => desktop.flow.createFromStarter())
  it('answers uname in the terminal', () => desktop.flow.askUname())
  it('pauses and resumes', () => desktop.flow.pauseAndResume())

  it('takes a snapshot and goes back to it', () => desktop.flow.snapshotAndRestore())

  it('shows figures', async () => {
    const picture = await desktop.flow.lookAtOverview()
    await mkdir(join(ROOT, 'docs/images'), { recursive: true })
    await copyFile(picture, join(ROOT, 'docs/images/main-window.png'))
  })

  it('powers off from inside the guest', () => desktop.flow.powerOffFromInside())
  it('deletes to the trash and restores', () => desktop.flow.deleteAndRestore())

  it('finds machines and console text again after a restart', async () => {
    await desktop.close()
    await desktop.launch()
    await desktop.flow.machine('My first Linux').waitFor()
    await desktop.page.getByRole('tab', { name: 'Console' }).click()
    await desktop.flow.waitForText(/uname -a/, 30_000)
    await desktop.flow.screenshot('9-restarted')
  })

  it('made no error in the page', () => {
    expect(desktop.problems).toEqual([])
  })

  // Last: Playwright waits for ever for the navigation that never comes.
  it('neither navigates away, nor opens windows, nor runs foreign scripts', async () => {
    const { page, app } = desktop
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
