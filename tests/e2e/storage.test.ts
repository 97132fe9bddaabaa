/** Snapshots with the mouse, and the view of disks, in the real Electron: dragged, chosen from menus, held against the files on this computer. */
import { execFileSync } from 'node:child_process'
import { appendFileSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Locator } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { checkSound } from '../fixtures/qemu-img'
import { buildTinyKernel, GUESTS } from '../fixtures/tiny-kernel'
import { DesktopApp } from './desktop-app'
import { fillLibrary } from './filled-library'

const NAME = 'Store'
const SLOW_MS = 60_000
const MIB = 1 << 20
/** What is in the files of the disk, at each point. */
const THEN = Buffer.alloc(MIB, 'then')
const NOW = Buffer.alloc(MIB, 'now')

let desktop: DesktopApp
let files: string
let plain: string
let over: string
const at = (name: string): string => join(files, name)

const virtualBytes = (path: string): number => (JSON.parse(execFileSync('qemu-img', ['info', '--output=json', path], { encoding: 'utf8' })) as { 'virtual-size': number })['virtual-size']

const qemu = (tool: 'qemu-img' | 'qemu-io', ...args: string[]): void => void execFileSync(tool, args, { stdio: 'ignore' })

/** A machine with a raw disk, and one laid over a base of 8 MiB: 6 MiB of its own, of which the guest has zeroed 4. */
async function prepare(home: string): Promise<void> {
  files = join(home, '..')
  ;[plain, over] = [at('plain.img'), at('over.qcow2')]
  writeFileSync(at('echo.bin'), buildTinyKernel(GUESTS.echo))
  writeFileSync(plain, THEN)
  writeFileSync(at('base.img'), Buffer.alloc(8 * MIB, 7))
  qemu('qemu-img', 'create', '-f', 'qcow2', '-b', at('base.img'), '-F', 'raw', over, '64M')
  qemu('qemu-io', '-f', 'qcow2', '-c', 'write -P 5 16M 6M', '-c', 'write -P 0 16M 4M', over)
  const disks = [{ path: plain, format: 'raw', readOnly: false }, { path: over, format: 'qcow2', readOnly: false }]
  await fillLibrary(home, async (call) => {
    // Data of a gibibyte: a copy takes its time.
    const block = Buffer.alloc(64 * MIB, 'data')
    for (let i = 0; i < 16; i++) appendFileSync(at('large.img'), block)
    await call('machine.create', { settings: { name: 'Large', kernel: at('echo.bin'), memoryMiB: 32, disks: [{ path: at('large.img'), format: 'raw', readOnly: false }] } })
    const { id } = await call('machine.create', { settings: { name: NAME, kernel: at('echo.bin'), memoryMiB: 32, disks } })
    await call('snapshot.take', { id, name: 'First' })
    writeFileSync(plain, NOW)
    await call('snapshot.take', { id, name: 'Second' })
  })
}

const row = (name: string): Locator => desktop.page.locator(`[role="treeitem"][data-snapshot="${name}"]`)
const item = (action: string): Locator => desktop.page.locator(`[role="menuitem"][data-action="${action}"]`)
const agree = (): Promise<void> => desktop.page.locator('.el-message-box__btns .el-button--primary').click()
const notice = (text: string | RegExp): Promise<void> => desktop.page.getByText(text).first().waitFor({ timeout: SLOW_MS })
const storedBytes = (path: string): number => statSync(path).blocks * 512

beforeAll(async () => {
  desktop = await DesktopApp.start('storage')
  await desktop.close()
  await prepare(desktop.world.home)
  await desktop.launch()
}, 120_000)
afterAll(() => desktop?.end())

// Before the machine goes back to a snapshot: zeroes of a disk are holes then.
describe('the view of disks', () => {
  const disk = (): Locator => desktop.page.locator('[data-disk="over.qcow2"]').first()

  it('shows the chain with the sizes that the files have', async () => {
    await desktop.flow.action('disks').click()
    await disk().waitFor()
    const layers = disk().locator('.layer')
    expect(await layers.count()).toBe(2)
    const [top, base] = await layers.allInnerTexts()
    expect(top).toContain(over)
    expect(top).toContain('64 MiB for the guest')
    expect(base).toContain(at('base.img'))
    // As many MiB as the file system says, to the tenth that is shown.
    for (const [text, path] of [[top, over], [base, at('base.img')]]) {
      const [, shown] = /takes ([\d.]+) MiB/.exec(text) ?? []
      expect(Math.abs(Number(shown) - storedBytes(path) / MIB)).toBeLessThan(0.06)
    }
    await desktop.flow.screenshot('1-disks')
  })

  it('makes a file smaller by what the guest has zeroed, after it was agreed to', async () => {
    const before = storedBytes(over)
    await disk().locator('[data-action="disk-menu"]').click()
    await item('disk-compact').click()
    await agree()
    await notice(/over\.qcow2 takes [\d.]+ \wiB less/)
    expect(before - storedBytes(over)).toBeGreaterThan(3 * MIB)
    checkSound(over)
    expect(readdirSync(files).filter((name) => name.startsWith('over.qcow2'))).toEqual(['over.qcow2'])
    await disk().locator('[data-action="disk-menu"]').click()
    await item('disk-check').click()
    await notice('over.qcow2 has no errors')
  })
})

describe('sizes and copies of disks', () => {
  const disk = (name: string): Locator => desktop.page.locator(`[data-disk="${name}"]`)

  async function choose(name: string, action: string): Promise<void> {
    await disk(name).locator('[data-action="disk-menu"]').click()
    await item(action).click()
  }

  async function resizeTo(gib: string): Promise<void> {
    await choose('over.qcow2', 'disk-resize')
    await desktop.page.locator('.el-message-box__input input').fill(gib)
    await agree()
  }

  it('become larger at once, and smaller once it was agreed to what is lost', async () => {
    const { page, flow } = desktop
    await resizeTo('2')
    await notice('over.qcow2 has 2 GiB now')
    expect(virtualBytes(over)).toBe(2048 * MIB)
    await resizeTo('0.0625')
    const question = page.locator('.question-dangerous')
    await question.waitFor()
    for (const text of ['Cut 1.9 GiB off over.qcow2?', 'Everything past 64 MiB is lost for good', `The disk is that of ${NAME}.`]) {
      await expect.poll(() => question.innerText()).toContain(text)
    }
    await flow.screenshot('1-shrink')
    await page.keyboard.press('Enter')
    await question.waitFor({ state: 'detached' })
    expect(virtualBytes(over), 'Enter is the safe answer').toBe(2048 * MIB)
    await resizeTo('0.0625')
    await question.locator('.el-button--danger').click()
    await notice('over.qcow2 has 64 MiB now')
    expect(virtualBytes(over)).toBe(64 * MIB)
    checkSound(over)
  })

  it('are copied in another format, which can be cancelled and leaves nothing then', async () => {
    const { page, flow } = desktop
    await choose('large.img', 'disk-convert')
    await flow.action('disk-make').click()
    await flow.action('work-close').click()
    await disk('large.img').locator('.el-progress').waitFor()
    await flow.screenshot('1-copying')
    await disk('large.img').locator('[data-action="disk-cancel"]').click()
    await disk('large.img').locator('[data-action="disk-menu"]').waitFor({ timeout: SLOW_MS })
    expect(readdirSync(files).filter((name) => name.startsWith('large'))).toEqual(['large.img'])
    expect(await page.getByText('is ready').count()).toBe(0)
    await choose('plain.img', 'disk-convert')
    await flow.action('disk-make').click()
    await notice(`${at('plain-copy.qcow2')} is ready`)
    qemu('qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2', plain, at('plain-copy.qcow2'))
  })
})

describe('the tree of snapshots', () => {
  it('goes back where the present is dropped onto a snapshot, and the toast brings it back', async () => {
    const { page, flow } = desktop
    await flow.openTab(NAME, 'Snapshots')
    await row('Current state').dragTo(row('First'))
    await row('Before First').waitFor({ timeout: SLOW_MS })
    expect(readFileSync(plain).equals(THEN)).toBe(true)
    await flow.screenshot('2-dragged')
    await page.getByRole('button', { name: 'Undo' }).first().click()
    await row('Before First').waitFor({ state: 'detached', timeout: SLOW_MS })
    expect(readFileSync(plain).equals(NOW)).toBe(true)
  })

  it('is left alone where the present is dropped elsewhere', async () => {
    await row('Current state').dragTo(desktop.flow.machine(NAME))
    await desktop.page.waitForTimeout(300)
    expect(await desktop.page.locator('[role="treeitem"]').count()).toBe(3)
  })

  it('offers what can be done under the right button: renaming, a clone, deleting', async () => {
    const { page, flow } = desktop
    await row('Second').click({ button: 'right' })
    expect(await page.getByRole('menu').getByRole('menuitem').allInnerTexts()).toHaveLength(4)
    await flow.screenshot('3-menu')
    await item('edit').click()
    await flow.field('snapshot-name').fill('Kept')
    await flow.action('snapshot-save').click()
    await row('Kept').waitFor()
    await row('Kept').click({ button: 'right' })
    await item('clone').click()
    await flow.field('copy-name').fill('From Kept')
    await flow.action('copy').click()
    await flow.machine('From Kept').waitFor({ timeout: SLOW_MS })
    await flow.openTab(NAME, 'Snapshots')
    await row('First').click({ button: 'right' })
    await item('remove').click()
    await agree()
    await row('First').waitFor({ state: 'detached', timeout: SLOW_MS })
    expect(await row('Kept').count()).toBe(1)
  })

  it('made no error in the page', () => {
    expect(desktop.problems).toEqual([])
  })
})
