/** One manager, two tabs of a browser: what one does the other shows at once, a reload loses nothing, and nobody's typing is disturbed. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildTinyKernel, GUESTS } from '../fixtures/tiny-kernel'
import { Flow } from './flow'
import { ServedPages } from './served-page'
import { SCREENSHOTS } from './world'

const SLOW_MS = 60_000

let pages: ServedPages
let first: Flow
let second: Flow

const flowOf = (page: Page, prefix: string): Flow => new Flow(page, { screenshots: SCREENSHOTS, prefix })
const echoed = async (flow: Flow, text: string): Promise<void> => void await flow.waitForText(new RegExp(text), SLOW_MS)

/** The guest echoes what is typed. */
async function type(flow: Flow, text: string): Promise<void> {
  await flow.page.locator('.xterm:visible').first().click()
  await flow.page.keyboard.type(text, { delay: 15 })
  await echoed(flow, text)
}

beforeAll(async () => {
  pages = await ServedPages.start()
  const kernel = join(pages.world.home, '..', 'echo.bin')
  writeFileSync(kernel, buildTinyKernel(GUESTS.echo))
  for (const name of ['web', 'other']) pages.cli('vm', 'create', name, '--memory', '32', '--kernel', kernel)
  first = flowOf(await pages.open(), 'tab-1')
  second = flowOf(await pages.open(), 'tab-2')
}, 60_000)

afterAll(async () => {
  await pages?.end()
})

describe('two tabs', () => {
  it('show the same state and the same console, whoever types', async () => {
    await first.machine('web').click()
    await first.action('start').click()
    await second.waitForState('web', 'running', SLOW_MS)
    await first.openTab('web', 'Console')
    await second.openTab('web', 'Console')
    await type(first, 'from-one')
    await echoed(second, 'from-one')
    await type(second, 'from-two')
    await echoed(first, 'from-two')
  })

  it('a reload comes back to the same place, with the text and a console that works', async () => {
    await first.page.reload()
    await first.waitForState('web', 'running', SLOW_MS)
    expect(await first.page.getByRole('tab', { name: 'Console' }).getAttribute('aria-selected')).toBe('true')
    await echoed(first, 'from-one')
    await type(first, 'after-reload')
    await echoed(second, 'after-reload')
  })

  it('what one changes elsewhere does not disturb what is typed in a dialog', async () => {
    await first.page.keyboard.press('Control+Shift+l')
    await first.page.keyboard.press('F2')
    await first.field('machine-name').fill('half a na')
    await second.page.keyboard.press('Control+Shift+l')
    await second.machine('other').click()
    await second.menu('delete')
    await first.machine('other').waitFor({ state: 'detached' })
    expect(await first.field('machine-name').inputValue()).toBe('half a na')
    await first.page.keyboard.press('Escape')
    await expect.poll(() => first.page.locator('[role="dialog"]:visible').count()).toBe(0)
  })

  it('what one deletes the other finds in the trash, and brings back for both', async () => {
    await first.action('trash').click()
    await first.page.locator('[data-trash="other"] [data-action="restore"]').click()
    await second.machine('other').waitFor()
    // Who restores it sees it.
    await first.page.getByRole('heading', { name: 'other', exact: true }).waitFor()
  })

  it('a snapshot of one is in the tree of the other', async () => {
    await second.openTab('web', 'Snapshots')
    await first.openTab('web', 'Snapshots')
    await first.action('snapshot-take').click()
    await first.field('snapshot-name').fill('Seen by both')
    await first.action('snapshot-save').click()
    await second.page.locator('[role="treeitem"][data-snapshot="Seen by both"]').waitFor({ timeout: SLOW_MS })
  })

  it('colours and language are those of both', async () => {
    await first.action('preferences').click()
    await first.page.getByRole('dialog').getByText('Dark', { exact: true }).click()
    await expect.poll(() => second.page.evaluate(() => document.documentElement.classList.contains('dark'))).toBe(true)
  })

  it('made no error in the pages', () => {
    expect(pages.problems).toEqual([])
  })
})
