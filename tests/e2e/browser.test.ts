/** The new user's path in Chromium, against `nestbox serve`. */
import { spawn, type ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { chromium, type Browser } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Flow } from './flow'
import { createWorld, requireBuild, ROOT, SCREENSHOTS, type World } from './world'

const CHROMIUM = process.env.NESTBOX_CHROMIUM ?? '/usr/bin/chromium'
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']

let world: World
let server: ChildProcess
let browser: Browser
let flow: Flow
let address: string
const problems: string[] = []

/** Starts `nestbox serve` and resolves with the address it prints. */
function serve(): Promise<string> {
  server = spawn(process.execPath, [join(ROOT, 'out/cli/nestbox.cjs'), 'serve', '--port', '0'], { env: world.env, stdio: ['ignore', 'pipe', 'pipe'] })
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

beforeAll(async () => {
  requireBuild('out/cli/nestbox.cjs', 'out/main/vm-host.cjs', 'out/renderer/index.html')
  world = await createWorld(false)
  address = await serve()
  browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS })
  const context = await browser.newContext({ viewport: { width: 1280, height: 820 }, locale: 'en-US' })
  const page = await context.newPage()
  page.on('pageerror', (error) => problems.push(error.stack ?? error.message))
  page.on('console', (message) => {
    if (message.type() === 'error') problems.push(message.text())
  })
  await page.goto(address)
  flow = new Flow(page, { screenshots: SCREENSHOTS, prefix: 'browser' })
}, 60_000)

afterAll(async () => {
  await browser?.close()
  // Machines that still run are suspended into the library before the server ends.
  const ended = new Promise((resolve) => server?.once('exit', resolve))
  server?.kill('SIGTERM')
  await ended
  await world?.dispose()
})

describe('in a browser', () => {
  it('refuses a page without the token', async () => {
    const page = await (await browser.newContext({ locale: 'en-US' })).newPage()
    await page.goto(new URL('/', address).href)
    await page.getByText('This page needs its token').waitFor()
    await page.close()
  })

  it('creates and boots a machine from the starter image', () => flow.createFromStarter())
  it('answers uname in the terminal', () => flow.askUname())
  it('pauses and resumes', () => flow.pauseAndResume())
  it('shows figures', () => flow.lookAtOverview())

  it('keeps the console text over a reload of the page', async () => {
    await flow.page.reload()
    await flow.page.getByRole('tab', { name: 'Console' }).click()
    await flow.waitForText(/GNU\/Linux/, 30_000)
  })

  it('powers off from inside the guest', () => flow.powerOffFromInside())
  it('deletes to the trash and restores', () => flow.deleteAndRestore())

  it('made no error in the page', () => {
    expect(problems).toEqual([])
  })
})
