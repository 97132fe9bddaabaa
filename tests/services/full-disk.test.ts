/** The host's disk is full while a guest writes: it stands, says why, and goes on without having lost anything. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { inEnglish, type MachineSettings } from '../../src/preload/contract'
import { openDisk } from '../../src/main/host/disks/open'
import { createQcow2 } from '../../src/main/host/disks/qcow2/create'
import { ConsoleHub } from '../../src/main/services/console'
import { MachineRuntime } from '../../src/main/services/runtime'
import { SavedState } from '../../src/main/services/snapshots/saved-state'
import { buildVmHostWithInterpreter } from '../fixtures/build-vm-host'
import { buildWriterKernel, SlotModel, SLOT_BYTES, WriterPlan } from '../fixtures/disk-writer-guest'
import { checkSound } from '../fixtures/qemu-img'

const ID = '11111111-2222-4333-8444-555555555555'
const SLOTS = 1024
const SIZE = SLOTS * SLOT_BYTES
const SEED = 0x2545f491

describe('a machine whose host has no room', () => {
  let dir: string
  let entry: string
  let consoles: ConsoleHub
  let runtime: MachineRuntime
  const disk = (): string => join(dir, 'disk.img')
  const plan = (): WriterPlan => new WriterPlan(SEED, 0, SLOTS)

  beforeAll(() => {
    entry = buildVmHostWithInterpreter()
  })
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'nestbox-full-'))
    writeFileSync(join(dir, 'writer.bin'), buildWriterKernel(SLOTS))
    consoles = new ConsoleHub(() => join(dir, 'logs'), () => undefined)
    runtime = new MachineRuntime({
      entry, consoles, nameOf: () => 'test', onStateChanged: () => undefined, onFigures: () => undefined, translationsDir: join(dir, 'translations'),
      savedState: () => new SavedState(dir),
    })
  })
  afterEach(async () => {
    await runtime.shutdown('stop')
    rmSync(dir, { recursive: true, force: true })
  })

  async function until(condition: () => boolean, what: string): Promise<void> {
    const end = Date.now() + 60_000
    while (!condition()) {
      if (Date.now() > end) throw new Error(`waited in vain for: ${what}; ${JSON.stringify(runtime.status(ID))}`)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  /** Stamps of the flushes the guest told of; an `E` would be a request that failed. */
  function flushed(): number[] {
    const text = new TextDecoder().decode(consoles.history(ID, 'ttyS0'))
    expect(text).not.toContain('E')
    return [...text.matchAll(/A([0-9a-f]{8})\n/g)].map((match) => Number.parseInt(match[1], 16))
  }

  async function start(format: 'raw' | 'qcow2'): Promise<void> {
    const settings: MachineSettings = {
      name: 'full', group: '', tags: [], notes: '', memoryMiB: 16, cpuProfile: 'nestbox64', kernel: join(dir, 'writer.bin'), initrd: '',
      commandLine: plan().commandLine, disks: [{ path: disk(), format, readOnly: false }], onReset: 'stop', maxTier: 2,
    }
    await runtime.start({ id: ID, settings, logDir: join(dir, 'logs') })
  }

  /** The largest file the machine's process may write: what it meets behaves as a full disk does, and can be lifted. */
  const limit = (bytes: number | 'unlimited'): void => void execFileSync('prlimit', ['--pid', String(runtime.status(ID).pid), `--fsize=${bytes}:unlimited`])

  const check = (): void => checkSound(disk(), true)

  async function expectAllThere(): Promise<void> {
    const last = flushed().at(-1) ?? 0
    const model = new SlotModel(new Array<number>(SLOTS).fill(0))
    const guest = plan()
    for (let open = 0; open < 2;) {
      const batch = guest.batch()
      const isFlushed = (batch.at(-1)?.stamp ?? 0) <= last
      if (!isFlushed) open++
      model.apply(batch, isFlushed)
    }
    const image = await openDisk(disk(), true, 'qcow2')
    const bytes = Buffer.alloc(SIZE)
    await image.read(0, bytes)
    await image.close()
    model.verify(bytes)
  }

  it('pauses it with the reason, keeps what was flushed, and goes on when there is room', async () => {
    await createQcow2(disk(), { sizeBytes: SIZE, clusterBits: 12 })
    await start('qcow2')
    await until(() => flushed().length > 2, 'the first flushes')
    limit(statSync(disk()).size + 40_960)
    await until(() => runtime.status(ID).state === 'paused', 'a pause')
    const status = runtime.status(ID)
    expect(status.waitsFor).toEqual({ kind: 'host-disk', path: disk() })
    expect(inEnglish(status.problem ?? '')).toContain(`${disk()}: cannot write at byte`)
    expect(inEnglish(status.problem ?? '')).toMatch(/free space on the host, then resume/)
    check()

    // Without more room it stands again, still with nothing lost.
    const before = flushed().length
    runtime.resume(ID)
    await until(() => runtime.status(ID).state === 'running' || runtime.status(ID).waitsFor !== undefined, 'an answer')
    await until(() => runtime.status(ID).state === 'paused', 'another pause')

    limit('unlimited')
    runtime.resume(ID)
    await until(() => runtime.status(ID).state === 'running', 'the machine running')
    expect(runtime.status(ID).problem).toBeUndefined()
    await until(() => flushed().length > before + 5, 'more flushes')
    await runtime.forceStop(ID)
    check()
    await expectAllThere()
  })

  it('can be suspended while it waits, and does what had no room when it goes on', async () => {
    // One table for the whole disk: only data is still in want of room.
    await createQcow2(disk(), { sizeBytes: SIZE, clusterBits: 16 })
    await start('qcow2')
    await until(() => flushed().length > 2, 'the first flushes')
    limit(statSync(disk()).size)
    await until(() => runtime.status(ID).state === 'paused', 'a pause')
    await runtime.suspend(ID, { report: () => undefined, signal: new AbortController().signal })
    expect(runtime.status(ID).state).toBe('saved')
    check()
    const before = flushed().length
    await start('qcow2')
    await until(() => flushed().length > before + 5, 'more flushes')
    await runtime.forceStop(ID)
    await expectAllThere()
  })

  it('can be stopped while it waits', async () => {
    await createQcow2(disk(), { sizeBytes: SIZE, clusterBits: 16 })
    await start('qcow2')
    await until(() => flushed().length > 2, 'the first flushes')
    limit(statSync(disk()).size)
    await until(() => runtime.status(ID).state === 'paused', 'a pause')
    await runtime.forceStop(ID)
    expect(runtime.status(ID).state).toBe('stopped')
    check()
    await expectAllThere()
  })
})
