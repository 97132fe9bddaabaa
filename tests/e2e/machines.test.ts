/** One machine and what is made of it in the real Electron: a disk, snapshots, a fork, a template with three machines, and the end of the app. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { DesktopApp, Quit } from './desktop-app'
import { ROOT } from './world'

const GUEST = join(ROOT, '.cache/guests/amd64-cloud')
const PROMPT = /NESTBOX-SHELL-READY[\s\S]*# ?$/
const SLOW_MS = 120_000
const COPIES = ['Golden 2', 'Golden 3', 'Golden 4']

let desktop: DesktopApp
let disk: string

beforeAll(async () => {
  desktop = await DesktopApp.start('machines')
  disk = join(desktop.world.home, '..', 'work.qcow2')
}, 300_000)

afterAll(() => desktop?.end())

describe('the desktop’s file dialogs', () => {
  it('choose kernel, initial RAM disk and a place for a new disk', async () => {
    const { flow, page } = desktop
    await flow.action('own').click()
    await flow.action('next').click()
    await desktop.willChoose(join(GUEST, 'vmlinuz'), join(GUEST, 'initrd.gz'))
    await flow.action('browse-kernel').click()
    await page.waitForFunction((path) => document.querySelector<HTMLInputElement>('input[name="kernel"]')?.value === path, join(GUEST, 'vmlinuz'))
    await flow.action('browse-initrd').click()
    await page.waitForFunction((path) => document.querySelector<HTMLInputElement>('input[name="initrd"]')?.value === path, join(GUEST, 'initrd.gz'))
    await flow.action('new-disk').click()
    await desktop.willChoose(disk)
    await flow.action('browse-disk-path').click()
    await page.waitForFunction((path) => document.querySelector<HTMLInputElement>('input[name="disk-path"]')?.value === path, disk)
    expect((await desktop.asked()).map(({ title, defaultPath }) => [title, typeof defaultPath])).toEqual([['File', 'string']])
    await flow.action('disk-make').click()
    await flow.field('disk-path').waitFor({ state: 'detached' })
    await flow.field('machine-name').fill('Work')
    // Enough for the kernel, and soon written when four of them are suspended.
    await flow.field('memory').fill('192')
    await flow.screenshot('1-wizard')
    await flow.action('next').click()
    await flow.waitForState('Work', 'running', SLOW_MS)
    await flow.waitForText(PROMPT, SLOW_MS)
  })

  it('leave the field alone when nothing is chosen', async () => {
    const { flow } = desktop
    await desktop.willChoose()
    await desktop.page.keyboard.press('Control+Shift+l')
    await desktop.page.keyboard.press('Control+i')
    await flow.action('browse-import-path').click()
    await expect.poll(async () => (await desktop.asked()).length).toBe(1)
    expect(await flow.field('import-path').inputValue()).toBe('')
    await desktop.page.keyboard.press('Escape')
    await flow.field('import-path').waitFor({ state: 'detached' })
  })
})

describe('a machine with a disk', () => {
  it('has a file on the disk again after the restore of a snapshot', async () => {
    const { flow } = desktop
    await flow.ask('Work', 'mke2fs -q /dev/vda && mkdir /d && mount /dev/vda /d; echo mounted-$?', /^mounted-0$/m)
    await flow.snapshotAndRestore('Work', '/d/note')
  })

  it('is forked while it runs, and both answer', async () => {
    const { flow } = desktop
    await flow.menu('fork')
    await flow.field('copy-name').fill('Fork')
    await flow.action('copy').click()
    await flow.waitForState('Fork', 'running', SLOW_MS)
    await flow.ask('Fork', 'echo fork-$((6 * 7)) > /d/note; cat /d/note', /^fork-42$/m)
    await flow.ask('Work', 'cat /d/note; echo work-$((6 * 7))', /^kept-42\s+work-42$/m)
    await flow.screenshot('2-forked')
  })
})

describe('a template', () => {
  it('is made of the machine, and three machines of it boot', async () => {
    const { flow } = desktop
    await flow.ask('Work', 'sync; poweroff -f', /./)
    await flow.waitForState('Work', 'stopped', SLOW_MS)
    await flow.menu('makeTemplate')
    await desktop.page.getByText('Make the template from a copy').click()
    await flow.field('copy-name').fill('Golden')
    await flow.action('copy').click()
    await flow.machine('Golden').waitFor({ timeout: SLOW_MS })
    for (const name of COPIES) {
      await flow.machine('Golden').click()
      await flow.action('new-from-template').click()
      await flow.action('next').click()
      expect(await flow.field('machine-name').inputValue()).toBe(name)
      await flow.action('next').click()
      await flow.waitForState(name, 'running', SLOW_MS)
    }
    for (const name of COPIES) {
      await flow.openTab(name, 'Console')
      await flow.waitForText(PROMPT, SLOW_MS)
      await flow.ask(name, 'mkdir /d; mount /dev/vda /d; cat /d/note', /^kept-42$/m)
    }
    await flow.machine('Golden').click()
    await flow.screenshot('3-template')
    await expect.poll(() => desktop.page.locator('main').innerText()).toContain('Golden 4')
  })
})

describe('the end of the app while machines run', () => {
  it('asks, and goes on when the person does not want it', async () => {
    await desktop.willAnswer(Quit.CANCEL)
    await desktop.quit()
    await expect.poll(() => desktop.asked()).toMatchObject([{
      message: '4 machines are still running', buttons: ['Keep Running', 'Suspend and Quit', 'Power Off and Quit', 'Cancel'], defaultId: Quit.SUSPEND,
    }])
    await desktop.flow.ask('Fork', 'remembered=$((6 * 9)); echo here-$remembered', /^here-54$/m)
  })

  it('keeps them without the window, which comes back where the app is started once more', async () => {
    await desktop.willAnswer(Quit.KEEP)
    const closed = desktop.page.waitForEvent('close')
    await desktop.app.evaluate(({ BrowserWindow }) => BrowserWindow.getAllWindows()[0].close())
    await closed
    const opened = desktop.app.waitForEvent('window')
    expect(await desktop.startAgain()).toBe(0)
    await desktop.follow(await opened)
    await desktop.flow.ask('Fork', 'echo still-$remembered', /^still-54$/m)
  })

  it('suspends them by default, and they go on at the next start', async () => {
    await desktop.willAnswer(Quit.SUSPEND)
    const ended = desktop.ended()
    await desktop.quit()
    await ended
    await desktop.launch()
    for (const name of [...COPIES, 'Fork']) await desktop.flow.waitForState(name, 'running', SLOW_MS)
    await desktop.flow.ask('Fork', 'echo after-$remembered', /^after-54$/m)
    await desktop.flow.screenshot('4-resumed')
  })

  it('does not ask who has chosen once for all', async () => {
    await desktop.page.keyboard.press('Control+Shift+l')
    await desktop.flow.action('preferences').click()
    await desktop.page.locator('[data-field="on-quit"]').click()
    await desktop.page.getByRole('option', { name: 'Suspend them; they go on at the next start' }).click()
    await expect.poll(() => readFileSync(join(desktop.world.home, 'settings.json'), 'utf8')).toContain('"onQuit": "suspend"')
    await desktop.willAnswer(Quit.CANCEL)
    const ended = desktop.ended()
    await desktop.quit()
    await ended
  })

  it('made no error in the pages', () => {
    expect(desktop.problems).toEqual([])
  })
})
