/** The path of a new user, the same in the real Electron and in a browser: every step is what a person sees and clicks. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Locator, Page } from 'playwright-core'
import { expect } from 'vitest'
import { slowness } from './slow-page'

/** A guest on the interpreter needs its time on a busy two-core machine. */
const BOOT_MS = 300_000
/** Most that the page may take for anything a person does. */
const CLICK_MS = 15_000 * slowness()
/** Work of the manager or the guest. */
const SLOW_MS = 120_000 * slowness()

export interface FlowOptions {
  /** Where screenshots go. */
  readonly screenshots: string
  /** Beginning of their names. */
  readonly prefix: string
}

export class Flow {
  constructor(readonly page: Page, private readonly options: FlowOptions) {
    page.setDefaultTimeout(CLICK_MS)
  }

  async screenshot(name: string): Promise<string> {
    await mkdir(this.options.screenshots, { recursive: true })
    const path = join(this.options.screenshots, `${this.options.prefix}-${name}.png`)
    await this.page.screenshot({ path, timeout: SLOW_MS })
    return path
  }

  machine(name: string): Locator {
    return this.page.locator(`[role="option"][data-machine="${name}"]`)
  }

  action(name: string): Locator {
    return this.page.locator(`[data-action="${name}"]:visible`).first()
  }

  async waitForState(name: string, state: string, timeout = CLICK_MS): Promise<void> {
    await this.machine(name).locator(`[data-state="${state}"]`).waitFor({ state: 'attached', timeout })
  }

  /** The text the terminal shows now. */
  async terminalText(): Promise<string> {
    const rows = await this.page.locator('.xterm-rows:visible').first().locator('> div').allInnerTexts()
    // The terminal pads with no-break spaces.
    return rows.map((row) => row.replaceAll('\u00a0', ' ').trimEnd()).join('\n')
  }

  async waitForText(wanted: RegExp, timeout: number): Promise<string> {
    const end = Date.now() + timeout
    let text = ''
    while (Date.now() < end) {
      text = await this.terminalText().catch(() => '')
      if (wanted.test(text)) return text
      await this.page.waitForTimeout(250)
    }
    throw new Error(`the terminal never showed ${wanted}; its last text was:\n${text}`)
  }

  /** Selects a machine and opens one of its tabs. */
  async openTab(machine: string, tab: string): Promise<void> {
    await this.machine(machine).click()
    await this.page.getByRole('tab', { name: tab, exact: true }).click()
  }

  /** An action of the selected machine's menu. */
  async menu(action: string): Promise<void> {
    await this.action('more').click()
    await this.page.locator(`[role="menuitem"][data-action="${action}"]`).click()
  }

  field(name: string): Locator {
    return this.page.locator(`input[name="${name}"]`)
  }

  /** What the guest of a machine answers in its console. */
  async ask(machine: string, command: string, answer: RegExp, timeout = SLOW_MS): Promise<string> {
    await this.openTab(machine, 'Console')
    await this.type(command)
    return await this.waitForText(answer, timeout)
  }

  async type(line: string): Promise<void> {
    await this.page.locator('.xterm:visible').first().click()
    await this.page.keyboard.type(line, { delay: 15 })
    await this.page.keyboard.press('Enter')
  }

  /** First start: the welcome, its one button, and a booted shell. */
  async createFromStarter(): Promise<void> {
    await this.page.getByRole('heading', { name: 'Welcome to Nestbox' }).waitFor({ timeout: 30_000 })
    await this.screenshot('1-welcome')
    await this.action('quick-start').click()
    await this.machine(MACHINE).waitFor({ timeout: BOOT_MS })
    await this.waitForState(MACHINE, 'running', BOOT_MS)
    await this.waitForText(PROMPT, BOOT_MS)
    await this.screenshot('2-booted')
  }

  async askUname(): Promise<void> {
    await this.type('uname -a')
    const text = await this.waitForText(/^Linux \S+ \d+\.\d+\.\d+\S* .*GNU\/Linux/m, 60_000)
    expect(text).toMatch(/x86_64|i686/)
    await this.screenshot('3-uname')
  }

  async pauseAndResume(): Promise<void> {
    await this.action('pause').click()
    await this.waitForState(MACHINE, 'paused')
    // While the guest sleeps its line is not the shell's: whatever else reaches it, such as a terminal's own answers, is shown.
    await this.type('sleep 1; echo after-$((40 + 2))')
    await this.page.waitForTimeout(1_500)
    expect(await this.terminalText()).not.toContain('after-42')
    await this.screenshot('4-paused')
    await this.action('resume').click()
    await this.waitForState(MACHINE, 'running')
    // What was typed while the machine was paused reaches it afterwards.
    await this.waitForText(/^after-42$/m, 60_000)
  }

  /** A file is written, kept in a snapshot, deleted, and is there again after the restore. */
  async snapshotAndRestore(machine = MACHINE, file = '/tmp/note'): Promise<void> {
    await this.ask(machine, `echo kept-$((40 + 2)) > ${file} && sync && cat ${file}`, /^kept-42$/m)
    await this.openTab(machine, 'Snapshots')
    await this.action('snapshot-take').click()
    await this.field('snapshot-name').fill('With the note')
    await this.page.locator('textarea[name="snapshot-notes"]').fill('Before the file is deleted')
    await this.action('snapshot-save').click()
    const taken = this.page.locator('[role="treeitem"][data-snapshot="With the note"]')
    await taken.waitFor({ timeout: SLOW_MS })
    const text = await this.ask(machine, `rm ${file}; sync; cat ${file}; echo gone-$((40 + 2))`, /^gone-42$/m)
    expect(text).toMatch(/No such file or directory\s+gone-42/)
    await this.openTab(machine, 'Snapshots')
    await taken.click()
    await this.screenshot('10-snapshot')
    await this.action('snapshot-restore').click()
    await this.page.locator('[role="treeitem"][data-snapshot="Before With the note"]').waitFor({ timeout: SLOW_MS })
    await this.waitForState(machine, 'running', SLOW_MS)
    await this.screenshot('11-restored-snapshot')
    await this.ask(machine, `cat ${file}; echo again-$((40 + 2))`, /^kept-42\s+again-42$/m)
  }

  /** The figures of a running machine, for the README's picture too. */
  async lookAtOverview(): Promise<string> {
    await this.page.getByRole('tab', { name: 'Overview' }).click()
    await this.page.locator('figure canvas').first().waitFor({ timeout: 30_000 })
    await this.page.waitForTimeout(4_000)
    for (const close of await this.page.locator('.el-notification__closeBtn').all()) await close.click()
    await this.page.locator('.el-notification').first().waitFor({ state: 'detached' })
    const path = await this.screenshot('5-overview')
    await this.page.getByRole('tab', { name: 'Console' }).click()
    return path
  }

  /** Search, paste, copy and text size, by the keys the console keeps for itself. */
  async consoleTools(): Promise<void> {
    await this.page.locator('.xterm:visible').click()
    await this.page.keyboard.press('Control+Shift+F')
    const search = this.page.getByRole('textbox', { name: 'Search in the console' })
    const verdict = this.page.locator('[role="search"] [role="status"]')
    await search.fill('never said by anybody')
    await expect.poll(() => verdict.textContent()).toBe('Not found')
    await search.fill('GNU/Linux')
    await expect.poll(() => verdict.textContent()).toBe('')
    await this.page.keyboard.press('Escape')
    const rowHeight = async (): Promise<number> => (await this.page.locator('.xterm-rows > div').first().boundingBox())?.height ?? 0
    const before = await rowHeight()
    for (let i = 0; i < 3; i++) await this.page.keyboard.press('Control+Shift++')
    await expect.poll(rowHeight).toBeGreaterThan(before)
    await this.page.keyboard.press('Control+Shift+0')
    await expect.poll(rowHeight).toBe(before)
    await this.page.evaluate(() => navigator.clipboard.writeText('echo pasted-$((40 + 2))\n'))
    await this.page.keyboard.press('Control+Shift+V')
    await this.waitForText(/^pasted-42$/m, SLOW_MS)
    // A double click chooses the word under it.
    const box = await this.page.locator('.xterm-rows > div').filter({ hasText: /^pasted-42\s*$/ }).last().boundingBox()
    await this.page.mouse.dblclick((box?.x ?? 0) + 20, (box?.y ?? 0) + 8)
    await this.page.keyboard.press('Control+Shift+C')
    await expect.poll(() => this.page.evaluate(() => navigator.clipboard.readText())).toBe('pasted-42')
  }

  /** ttyS0 and hvc0 of one machine: what is typed goes to the one that has the focus. */
  async consolesSideBySide(): Promise<void> {
    await this.page.keyboard.press('Control+Shift+l')
    await this.page.keyboard.press('Control+Shift+k')
    const pane = (port: string): Locator => this.page.locator(`[data-pane="${MACHINE} ${port}"]`)
    await pane('hvc0').locator('.xterm-rows').waitFor()
    await this.page.keyboard.press('Control+Shift+ArrowRight')
    await this.page.keyboard.type('echo hvc-$((40 + 2))\n', { delay: 15 })
    await expect.poll(() => pane('hvc0').locator('.xterm-rows').innerText(), { timeout: 60_000 }).toContain('hvc-42')
    await this.page.keyboard.press('Control+Shift+ArrowLeft')
    await this.page.keyboard.type('echo serial-$((40 + 3))\n', { delay: 15 })
    await expect.poll(() => pane('ttyS0').locator('.xterm-rows').innerText(), { timeout: 60_000 }).toContain('serial-43')
    expect(await pane('hvc0').locator('.xterm-rows').innerText()).not.toContain('serial')
    await this.screenshot('12-side-by-side')
    await this.page.keyboard.press('Control+Shift+l')
    await this.openTab(MACHINE, 'Console')
  }

  async powerOffFromInside(): Promise<void> {
    await this.type('poweroff -f')
    await this.waitForState(MACHINE, 'stopped', 120_000)
    // The text stays after the machine is gone.
    await this.waitForText(/uname -a/, CLICK_MS)
    await this.screenshot('6-stopped')
  }

  async deleteAndRestore(): Promise<void> {
    await this.menu('delete')
    await this.machine(MACHINE).waitFor({ state: 'detached' })
    await this.action('trash').click()
    await this.page.locator(`[data-trash="${MACHINE}"]`).waitFor()
    await this.screenshot('7-trash')
    await this.page.locator(`[data-trash="${MACHINE}"] [data-action="restore"]`).click()
    await this.machine(MACHINE).waitFor()
    await this.waitForState(MACHINE, 'stopped')
    await this.screenshot('8-restored')
  }
}

/** The name the welcome page gives. */
export const MACHINE = 'My first Linux'
const PROMPT = /^\S*[#$] ?$/m
