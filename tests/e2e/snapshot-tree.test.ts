/** A tree of 500 snapshots in the real Electron: scrolled, walked through with the arrow keys, folded. Frames keep coming. */
import { randomUUID } from 'node:crypto'
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { CDPSession } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildTinyKernel, GUESTS } from '../fixtures/tiny-kernel'
import { DesktopApp } from './desktop-app'
import { fillLibrary } from './filled-library'
import { slowness } from './slow-page'

const NAME = 'Many'
const SNAPSHOTS = 500
/** A side branch begins at each of these. */
const BRANCH_EVERY = 25
/** Rows that the page may have: those in sight, and a margin. */
const MOST_ROWS = 60
/** Of the page's own processor time for each step: two frames of a display with 60 a second. How late frames come depends on what else this computer does. */
const FLUID_MS = 34 * slowness()

interface Frames {
  /** The page's processor time for each step. */
  readonly work: number
  readonly median: number
  readonly p95: number
  readonly worst: number
  /** Heights that the tree had, and places it was scrolled to: something happened. */
  readonly heights: number
  readonly places: number
}

let desktop: DesktopApp

async function prepare(home: string): Promise<void> {
  const kernel = join(home, '..', 'echo.bin')
  writeFileSync(kernel, buildTinyKernel(GUESTS.echo))
  let [id, first] = ['', '']
  await fillLibrary(home, async (call) => {
    id = (await call('machine.create', { settings: { name: NAME, kernel, memoryMiB: 32 } })).id
    first = (await call('snapshot.take', { id, name: 'Point 0' })).id
  })
  const folder = join(home, 'machines', id, 'snapshots')
  const record = JSON.parse(readFileSync(join(folder, first, 'snapshot.json'), 'utf8')) as object
  let trunk = first
  for (let n = 1; n < SNAPSHOTS; n++) {
    const added = randomUUID()
    cpSync(join(folder, first), join(folder, added), { recursive: true })
    const createdAt = new Date(Date.UTC(2026, 0, 1) + n * 60_000).toISOString()
    writeFileSync(join(folder, added, 'snapshot.json'), JSON.stringify({ ...record, id: added, name: `Point ${n}`, notes: `the ${n}th`, createdAt, parent: trunk }))
    if (n % BRANCH_EVERY !== 0) trunk = added
  }
}

/** Milliseconds for which the page's main thread has worked. */
async function workOf(session: CDPSession): Promise<number> {
  const { metrics } = await session.send('Performance.getMetrics')
  const task = metrics.find(({ name }) => name === 'TaskDuration')
  if (!task) throw new Error('the page does not tell how long it worked')
  return task.value * 1000
}

/** Does one step a frame, and measures from frame to frame. @param step of the tree's element */
async function framesOf(steps: number, step: 'down' | 'scroll' | 'fold'): Promise<Frames> {
  const session = await desktop.page.context().newCDPSession(desktop.page)
  await session.send('Performance.enable', { timeDomain: 'threadTicks' })
  const before = await workOf(session)
  const frames = await walk(steps, step)
  const work = (await workOf(session) - before) / steps
  await session.detach()
  return { ...frames, work }
}

function walk(steps: number, step: 'down' | 'scroll' | 'fold'): Promise<Omit<Frames, 'work'>> {
  return desktop.page.evaluate(async ([count, what]) => {
    const tree = document.querySelector<HTMLElement>('[role="tree"]')!
    const press = (key: string): boolean => tree.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }))
    const frame = (): Promise<number> => new Promise((resolve) => requestAnimationFrame(resolve))
    tree.focus()
    press('Home')
    await frame()
    if (what === 'fold') document.querySelector<HTMLElement>('[role="treeitem"][aria-expanded]')!.click()
    const [heights, places] = [new Set<number>(), new Set<number>()]
    const times: number[] = []
    let last = await frame()
    for (let i = 0; i < count; i++) {
      if (what === 'down') press('ArrowDown')
      else if (what === 'scroll') tree.scrollTop += 120
      else press(i % 2 === 0 ? 'ArrowLeft' : 'ArrowRight')
      const now = await frame()
      times.push(now - last)
      last = now
      heights.add(tree.scrollHeight)
      places.add(tree.scrollTop)
    }
    times.sort((a, b) => a - b)
    return { median: times[count >> 1], p95: times[Math.floor(count * 0.95)], worst: times[count - 1], heights: heights.size, places: places.size }
  }, [steps, step] as const)
}

beforeAll(async () => {
  desktop = await DesktopApp.start('tree')
  await desktop.close()
  await prepare(desktop.world.home)
  await desktop.launch()
  await desktop.flow.openTab(NAME, 'Snapshots')
  await desktop.page.locator('[role="treeitem"]').first().waitFor()
}, 120_000)
afterAll(() => desktop?.end())

describe('a tree of 500 snapshots', () => {
  it('has only the rows in sight on the page, and all of them in its count', async () => {
    const tree = desktop.page.locator('[role="tree"]')
    await expect.poll(() => tree.evaluate((element) => element.scrollHeight)).toBeGreaterThan(SNAPSHOTS * 50)
    expect(await desktop.page.locator('[role="treeitem"]').count()).toBeLessThan(MOST_ROWS)
  })

  it.each([['down', 200], ['scroll', 200], ['fold', 40]] as const)('stays fluid: %s', async (step, steps) => {
    const frames = await framesOf(steps, step)
    const { work, median, p95, worst } = frames
    process.stdout.write(`${step}: ${work.toFixed(1)} ms of work a step; median ${median.toFixed(1)} ms a frame, p95 ${p95.toFixed(1)}, worst ${worst.toFixed(1)}\n`)
    expect(step === 'fold' ? frames.heights : frames.places).toBeGreaterThan(1)
    expect(work).toBeGreaterThan(0)
    expect(work).toBeLessThan(FLUID_MS)
    expect(await desktop.page.locator('[role="treeitem"]').count()).toBeLessThan(MOST_ROWS)
  })

  it('made no error in the page', () => {
    expect(desktop.problems).toEqual([])
  })
})
