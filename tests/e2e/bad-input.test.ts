/** What goes wrong, as a person meets it in the page: each time a clear word, a way on, and an app that lives. */
import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildTinyKernel, GUESTS } from '../fixtures/tiny-kernel'
import { Flow } from './flow'
import { ServedPages } from './served-page'
import { slowness } from './slow-page'
import { SCREENSHOTS } from './world'

/** From the click until the machine stands, on a computer that is not slowed down. */
const OBEYS_MS = 5_000

let pages: ServedPages
let page: Page
let flow: Flow
let folder: string

async function openPage(): Promise<void> {
  page = await pages.open()
  flow = new Flow(page, { screenshots: SCREENSHOTS, prefix: 'bad-input' })
}

const kernel = (guest: keyof typeof GUESTS): string => join(folder, `${guest}.bin`)

function create(name: string, guest: keyof typeof GUESTS, ...more: readonly string[]): void {
  writeFileSync(kernel(guest), buildTinyKernel(GUESTS[guest]))
  pages.cli('vm', 'create', name, '--memory', '32', '--kernel', kernel(guest), ...more)
}

/** The newest toast or the error in the dialog. */
const said = (text: string | RegExp): Promise<void> => page.locator('.notice', { hasText: text }).first().waitFor()

async function start(name: string): Promise<void> {
  await flow.machine(name).click()
  await flow.action('start').click()
}

beforeAll(async () => {
  pages = await ServedPages.start()
  folder = join(pages.world.home, '..')
  create('good', 'spin')
  await openPage()
}, 60_000)

afterAll(async () => {
  await pages?.end()
})

describe('bad files', () => {
  it('a kernel that is cut short', async () => {
    create('cut', 'hello')
    truncateSync(kernel('hello'), 700)
    await start('cut')
    await said('This is not a Linux kernel')
    await said('Choose a bzImage file')
    await flow.waitForState('cut', 'stopped')
    await flow.screenshot('1-cut-kernel')
  })

  it('a disk that is gone', async () => {
    const disk = join(folder, 'gone.img')
    writeFileSync(disk, Buffer.alloc(1 << 20))
    create('no-disk', 'echo', '--disk', disk)
    rmSync(disk)
    await start('no-disk')
    await said('gone.img')
    await flow.waitForState('no-disk', 'stopped')
  })
})

describe('bad guests', () => {
  it('one that crashes: its log says why', async () => {
    create('crashing', 'tripleFault')
    await start('crashing')
    await said('crashing stopped unexpectedly')
    await flow.waitForState('crashing', 'crashed')
    await page.locator('.notice', { hasText: 'crashing' }).getByRole('button', { name: 'Open the log' }).first().click()
    await page.getByRole('log').getByText(/the guest crashed/).first().waitFor()
    await flow.screenshot('2-triple-fault')
  })

  it('one whose process is killed: it can be started again, others never noticed', async () => {
    create('victim', 'spin')
    await start('good')
    await flow.waitForState('good', 'running')
    await start('victim')
    await flow.waitForState('victim', 'running')
    const { pid } = JSON.parse(pages.cli('vm', 'info', 'victim', '--json')) as { pid: number }
    process.kill(pid, 'SIGKILL')
    await flow.waitForState('victim', 'crashed', 30_000)
    await said('victim stopped unexpectedly')
    await flow.waitForState('good', 'running')
    await flow.action('start').click()
    await flow.waitForState('victim', 'running')
  })

  it('one that floods its console: the page obeys at once', async () => {
    create('flood', 'flood')
    await start('flood')
    await flow.waitForState('flood', 'running')
    await flow.openTab('flood', 'Console')
    await flow.waitForText(/f{40}/, 30_000)
    const from = Date.now()
    await flow.action('pause').click()
    await flow.waitForState('flood', 'paused')
    expect(Date.now() - from).toBeLessThan(OBEYS_MS * slowness())
    await page.keyboard.press('Control+Shift+l')
    await flow.menu('forceStop')
    await page.locator('.el-message-box__btns .el-button--danger').click()
    await flow.waitForState('flood', 'stopped')
  })
})

describe('a damaged library', () => {
  it('keeps the file aside, shows the machine, and all others', async () => {
    await pages.stop()
    const machines = join(pages.world.home, 'machines')
    const dir = readdirSync(machines).find((id) => readFileSync(join(machines, id, 'machine.json'), 'utf8').includes('"cut"'))
    if (!dir) throw new Error('no folder of the machine')
    writeFileSync(join(machines, dir, 'machine.json'), '{ "version": 1, "settings": { "na')
    pages = await ServedPages.start(pages.world)
    await openPage()
    await page.locator('[data-state="damaged"]').first().waitFor()
    await page.locator('[role="option"]', { has: page.locator('[data-state="damaged"]') }).click()
    await page.getByText('Its file was set aside and nothing was overwritten').waitFor()
    expect(readdirSync(join(machines, dir)).some((file) => file.startsWith('machine.json.') || file.includes('damaged'))).toBe(true)
    await flow.screenshot('3-damaged')
    await flow.machine('good').waitFor()
    await flow.menu('delete')
    await page.locator('[data-state="damaged"]').first().waitFor({ state: 'detached' })
  })

  it('made no error in the pages', () => {
    expect(pages.problems).toEqual([])
  })
})
