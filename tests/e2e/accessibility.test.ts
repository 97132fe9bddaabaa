/** Every view and dialog of the page in both themes: controls have names, text can be read, the focus can be seen and comes back. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildTinyKernel, GUESTS } from '../fixtures/tiny-kernel'
import { audit, settled, walk } from './audit'
import { Flow } from './flow'
import { ServedPages } from './served-page'
import { SCREENSHOTS } from './world'

let pages: ServedPages

beforeAll(async () => {
  pages = await ServedPages.start()
  const folder = join(pages.world.home, '..')
  const kernel = join(folder, 'kernel.bin')
  writeFileSync(kernel, buildTinyKernel(GUESTS.echo))
  const disk = join(folder, 'disk.qcow2')
  pages.cli('disk', 'create', disk, '--size', '1G')
  const common = ['--memory', '32', '--kernel', kernel]
  pages.cli('vm', 'create', 'web', ...common, '--disk', `${disk},format=qcow2`, '--group', 'work', '--tag', 'test')
  pages.cli('vm', 'create', 'other', ...common)
  pages.cli('vm', 'create', 'old', ...common)
  pages.cli('vm', 'delete', 'old')
  pages.cli('vm', 'start', 'web')
  pages.cli('snapshot', 'take', 'web', 'clean')
}, 60_000)

afterAll(async () => {
  await pages?.end()
})

async function escape(page: Page): Promise<void> {
  await page.keyboard.press('Escape')
  await expect.poll(() => page.locator('[role="dialog"]:visible').count()).toBe(0)
}

describe.each(['light', 'dark'] as const)('in the %s theme', (colorScheme) => {
  let page: Page
  let flow: Flow

  beforeAll(async () => {
    page = await pages.open({ colorScheme, reducedMotion: 'reduce', viewport: { width: 1100, height: 760 } })
    flow = new Flow(page, { screenshots: SCREENSHOTS, prefix: `a11y-${colorScheme}` })
    await flow.machine('web').click()
  })

  it.each(['Overview', 'Console', 'Snapshots', 'Settings', 'Inspector', 'Log'])('the tab %s', async (tab) => {
    await flow.openTab('web', tab)
    await settled(page)
    expect(await audit(page)).toEqual([])
  })

  it.each([['trash', 'Trash'], ['disks', 'Disks'], ['consoles', 'Consoles side by side']])('the view of %s', async (action, title) => {
    await flow.action(action).click()
    await page.getByRole('heading', { name: title }).waitFor()
    await settled(page)
    expect(await audit(page)).toEqual([])
  })

  it.each(['help', 'preferences', 'new', 'settings', 'clone', 'fork', 'rename', 'takeSnapshot', 'delete'])('the dialog of %s, which gives the focus back', async (action) => {
    await flow.machine('web').click()
    const isInMenu = !['help', 'preferences', 'new'].includes(action)
    if (isInMenu) await flow.menu(action)
    else await flow.action(action).click()
    const dialog = page.locator('[role="dialog"]:visible')
    await dialog.waitFor()
    await settled(page)
    expect(await audit(page)).toEqual([])
    expect(await dialog.evaluate((element) => element.contains(document.activeElement))).toBe(true)
    await flow.screenshot(action)
    await escape(page)
    await expect.poll(() => page.evaluate(() => document.activeElement?.getAttribute('data-action'))).toBe(isInMenu ? 'more' : action)
  })

  it('the second step of the wizard, with a disk', async () => {
    await flow.action('new').click()
    await page.locator('.wizard input[value="kernel"]').check({ force: true })
    await flow.action('next').click()
    await page.locator('.wizard .disks button').first().click()
    await settled(page)
    expect(await audit(page)).toEqual([])
    await flow.screenshot('wizard-2')
    await page.keyboard.press('Escape')
    await page.locator('.question-dangerous').waitFor()
    await settled(page)
    expect(await audit(page)).toEqual([])
    await page.locator('.question-dangerous .el-button--danger').click()
    await expect.poll(() => page.locator('[role="dialog"]:visible').count()).toBe(0)
  })

  it.each([[900, 600], [640, 480]])('every dialog’s buttons are in sight in a window of %i × %i', async (width, height) => {
    await page.setViewportSize({ width, height })
    await flow.machine('web').click()
    await flow.menu('settings')
    await page.locator('.settings-dialog [role="tab"]').nth(1).click()
    const save = flow.action('save')
    await save.waitFor()
    const box = await save.boundingBox()
    expect((box?.y ?? height) + (box?.height ?? 0)).toBeLessThanOrEqual(height)
    expect((box?.x ?? width) + (box?.width ?? 0)).toBeLessThanOrEqual(width)
    expect(await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.scrollHeight])).toEqual([width, height])
    await flow.screenshot(`settings-${width}`)
    await escape(page)
    await page.setViewportSize({ width: 1100, height: 760 })
  })

  it('the menu and the tasks', async () => {
    await flow.machine('web').click()
    await flow.action('more').click()
    expect(await audit(page)).toEqual([])
    await page.keyboard.press('Escape')
    await flow.action('tasks').click()
    await settled(page)
    expect(await audit(page)).toEqual([])
  })
})

describe('with the keyboard alone', () => {
  it('every stop can be seen, and the end comes round to the beginning', async () => {
    const page = await pages.open({ reducedMotion: 'reduce' })
    await new Flow(page, { screenshots: SCREENSHOTS, prefix: 'a11y' }).machine('web').waitFor()
    const stops = await walk(page, 40)
    expect(stops.filter(({ isVisible }) => !isVisible)).toEqual([])
    const names = stops.map(({ name }) => name)
    for (const wanted of ['Skip to the content', 'New', 'Search machines', 'Tasks', 'Preferences', 'More actions', 'Overview']) expect(names).toContain(wanted)
    expect(names.some((name) => /^(web|other), (Running|Stopped)$/.test(name))).toBe(true)
    expect(names.indexOf('New', names.indexOf('New') + 1)).toBeGreaterThan(0)
  })

  it.each(['', 'trash', 'disks'])('the first stop leads past the list, into the view of %s', async (action) => {
    const page = await pages.open()
    const flow = new Flow(page, { screenshots: SCREENSHOTS, prefix: 'a11y' })
    await flow.machine('web').click()
    if (action !== '') await flow.action(action).click()
    await page.evaluate(() => (document.activeElement as HTMLElement).blur())
    await page.locator('.skip').press('Enter')
    expect(await page.evaluate(() => document.activeElement?.tagName)).toBe('MAIN')
  })

  it('made no error in the pages', () => {
    expect(pages.problems).toEqual([])
  })
})
