/** The whole way with the keyboard alone, in the real Electron: not one click, and every stop is reached with Tab, arrows and shortcuts. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildTinyKernel, GUESTS } from '../fixtures/tiny-kernel'
import { DesktopApp, Quit } from './desktop-app'

const NAME = 'Typed'
const SLOW_MS = 60_000

let desktop: DesktopApp
let kernel: string

const press = (keys: string): Promise<void> => desktop.page.keyboard.press(keys)

/** Whether the focus is on, or in, what the selector names. */
const isOn = (selector: string): Promise<boolean> => desktop.page.evaluate((wanted) => Boolean(document.activeElement?.closest(wanted)), selector)

/** Goes on with Tab, as often as a person would at most. */
async function tabTo(selector: string, by: 'Tab' | 'Shift+Tab' = 'Tab'): Promise<void> {
  for (let steps = 0; steps < 60; steps++) {
    if (await isOn(selector)) return
    await press(by)
  }
  throw new Error(`Tab never comes to ${selector}`)
}

const waitForDialog = (): Promise<void> => desktop.page.locator('[role="dialog"]:visible').first().waitFor()
const noDialog = (): Promise<void> => expect.poll(() => desktop.page.locator('[role="dialog"]:visible').count()).toBe(0)

/** A dialog in which Enter does no harm: as soon as it is there, and for good. */
async function waitForQuestion(): Promise<void> {
  await waitForDialog()
  expect(await isOn('.el-message-box__btns .el-button:not(.el-button--danger)')).toBe(true)
}

/** What the guest echoes of what is typed into its console. */
async function typeIntoConsole(text: string): Promise<void> {
  await press('Control+k')
  await expect.poll(() => isOn('.xterm')).toBe(true)
  await desktop.page.keyboard.type(text, { delay: 15 })
  await desktop.flow.waitForText(new RegExp(text), SLOW_MS)
  await press('Control+Shift+l')
  await expect.poll(() => isOn('[role="option"]')).toBe(true)
}

beforeAll(async () => {
  desktop = await DesktopApp.start('keyboard')
  kernel = join(desktop.world.home, '..', 'echo.bin')
  writeFileSync(kernel, buildTinyKernel(GUESTS.echo))
}, 300_000)

afterAll(() => desktop?.end())

describe('with the keyboard alone', () => {
  it('makes a machine of a kernel and starts it', async () => {
    await desktop.page.getByRole('heading', { name: 'Welcome to Nestbox' }).waitFor()
    await press('Control+n')
    await waitForDialog()
    await tabTo('.wizard input[name="source"]')
    await press('ArrowDown')
    expect(await desktop.page.locator('.wizard input[value="kernel"]').isChecked()).toBe(true)
    await tabTo('[data-action="next"]')
    await press('Enter')
    await tabTo('input[name="machine-name"]', 'Shift+Tab')
    await press('Control+a')
    await desktop.page.keyboard.type(NAME)
    await tabTo('input[name="kernel"]')
    await desktop.page.keyboard.type('relative.bin')
    await tabTo('[data-action="next"]')
    await press('Enter')
    // What is wrong is said, and the focus is there already.
    await desktop.page.getByText('Give the full path of the file').waitFor()
    await expect.poll(() => isOn('input[name="kernel"]')).toBe(true)
    await press('Control+a')
    await desktop.page.keyboard.type(kernel)
    await tabTo('[data-action="next"]')
    await press('Enter')
    await desktop.flow.waitForState(NAME, 'running', SLOW_MS)
    await noDialog()
  })

  it('types into its console and leaves it', () => typeIntoConsole('before'))

  it('takes a snapshot, goes back to it, and undoes that', async () => {
    await press('Control+t')
    await expect.poll(() => isOn('input[name="snapshot-name"]')).toBe(true)
    await desktop.page.keyboard.type('First')
    await press('Enter')
    const first = desktop.page.locator('[role="treeitem"][data-snapshot="First"]')
    await first.waitFor({ timeout: SLOW_MS })
    await noDialog()
    await tabTo('[role="tree"]')
    await press('Home')
    expect(await first.getAttribute('aria-selected')).toBe('true')
    await press('Enter')
    await desktop.page.locator('[role="treeitem"][data-snapshot="Before First"]').waitFor({ timeout: SLOW_MS })
    await desktop.flow.waitForState(NAME, 'running', SLOW_MS)
    await tabTo('.notice-action')
    await press('Enter')
    await desktop.page.locator('[role="treeitem"][data-snapshot="Before First"]').waitFor({ state: 'detached', timeout: SLOW_MS })
    await desktop.flow.waitForState(NAME, 'running', SLOW_MS)
  })

  it('deletes the snapshot, but not with the first Enter', async () => {
    await tabTo('[role="tree"]')
    await press('Home')
    await press('Delete')
    await waitForQuestion()
    await press('Enter')
    // Answered is gone: the next key is the page's.
    expect(await isOn('[role="tree"]')).toBe(true)
    await press('Delete')
    await waitForQuestion()
    await desktop.page.locator('[role="treeitem"][data-snapshot="First"]').waitFor()
    await tabTo('.el-message-box__btns .el-button--danger')
    await press('Enter')
    await desktop.page.locator('[role="treeitem"]').first().waitFor({ state: 'detached', timeout: SLOW_MS })
  })

  it('moves the machine to the trash and takes it back', async () => {
    await tabTo('[role="option"]')
    await press('Delete')
    await waitForQuestion()
    await tabTo('.el-message-box__btns .el-button--danger')
    await press('Enter')
    await desktop.flow.machine(NAME).waitFor({ state: 'detached', timeout: SLOW_MS })
    await tabTo('.notice-action')
    await press('Enter')
    await desktop.flow.waitForState(NAME, 'stopped', SLOW_MS)
  })

  it('starts it again from its menu', async () => {
    await tabTo('[role="option"]')
    await press('Shift+F10')
    await expect.poll(() => isOn('[role="menuitem"][data-action="start"]')).toBe(true)
    await press('Enter')
    await desktop.flow.waitForState(NAME, 'running', SLOW_MS)
    await typeIntoConsole('again')
  })
})

describe('in French', () => {
  it('the menu and the question at the end are too', async () => {
    await press('Control+,')
    await waitForDialog()
    await tabTo('[data-field="language"] input')
    await press('Enter')
    await desktop.page.getByRole('option', { name: 'Français' }).waitFor()
    await press('End')
    await press('Enter')
    await desktop.page.getByText('Langue').waitFor()
    await press('Escape')
    await noDialog()
    await expect.poll(() => desktop.app.evaluate(({ Menu }) => Menu.getApplicationMenu()?.items.map(({ label }) => label))).toContain('&Affichage')
    await desktop.willAnswer(Quit.CANCEL)
    await desktop.quit()
    await expect.poll(() => desktop.asked()).toMatchObject([{
      message: 'Une machine fonctionne encore', buttons: ['Laisser tourner', 'Mettre en veille et quitter', 'Éteindre et quitter', 'Annuler'],
    }])
  })

  it('the machine that was suspended at the end goes on at the next start', async () => {
    await desktop.willAnswer(Quit.SUSPEND)
    const ended = desktop.ended()
    await desktop.quit()
    await ended
    await desktop.launch()
    await desktop.flow.waitForState(NAME, 'running', SLOW_MS)
    await desktop.page.getByRole('tab', { name: 'Aperçu' }).waitFor()
    await tabTo('[role="option"]')
    await typeIntoConsole('still')
  })

  it('made no error in the pages', () => {
    expect(desktop.problems).toEqual([])
  })
})
