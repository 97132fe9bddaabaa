import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { SpareProcesses, type StartedProcess } from '../../src/main/engines/embedded/spare-processes'
import { buildVmHost } from '../fixtures/build-vm-host'

describe('processes started ahead', () => {
  let entry: string
  let spares: SpareProcesses
  let taken: StartedProcess[]

  beforeAll(() => {
    entry = buildVmHost()
  })
  afterEach(() => {
    spares.close()
    for (const { child } of taken) child.kill('SIGKILL')
  })

  function open(count: number): void {
    taken = []
    spares = new SpareProcesses({ entry, count, delayMs: 20 })
  }

  const take = (): StartedProcess => {
    const started = spares.take()
    taken.push(started)
    return started
  }

  async function until(what: string, condition: () => boolean): Promise<void> {
    const end = Date.now() + 20_000
    while (!condition()) {
      if (Date.now() > end) throw new Error(`${what} did not come`)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  const gone = (pid: number | undefined): boolean => {
    try {
      process.kill(pid ?? 0, 0)
      return false
    } catch {
      return true
    }
  }

  it('gives one that is ready, and starts the next one', async () => {
    open(1)
    expect(take().isReady).toBe(false)
    await until('a spare', () => spares.readyCount === 1)
    const first = take()
    expect(first.isReady).toBe(true)
    expect(first.child.connected).toBe(true)
    await until('another spare', () => spares.readyCount === 1)
    expect(take().child.pid).not.toBe(first.child.pid)
  })

  it('does not give one that died', async () => {
    open(1)
    await until('a spare', () => spares.readyCount === 1)
    process.kill(spares.pids[0], 'SIGKILL')
    await until('its end', () => spares.readyCount === 0)
    const started = take()
    expect(started.isReady).toBe(false)
    await new Promise((resolve) => started.child.once('message', resolve))
  })

  it('ends those that wait, and keeps none where none are wanted', async () => {
    open(2)
    await until('two spares', () => spares.readyCount === 2)
    const [first, second] = spares.pids
    spares.close()
    await until('their end', () => gone(first) && gone(second))
    open(0)
    take()
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(spares.pids).toEqual([])
  })
})
