/**
 * The machine's process may be killed at any instant: the image is sound afterwards, and everything is there that the guest had
 * flushed. A guest writes, a kill -9 ends its process, QEMU's tools and the guest's own plan say what must be there; many times on
 * one image, so that each round goes on from what the kill before it left.
 */
import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { compactDisk } from '../../src/main/host/disks/compact'
import { openDisk } from '../../src/main/host/disks/open'
import { createQcow2 } from '../../src/main/host/disks/qcow2/create'
import { buildVmHostWithInterpreter } from '../fixtures/build-vm-host'
import { buildWriterKernel, SlotModel, slotBytes, SLOT_BYTES, WriterPlan } from '../fixtures/disk-writer-guest'
import { KilledMachine } from '../fixtures/killed-machine'
import { checkSound } from '../fixtures/qemu-img'

/** Of each kind of image. Hundreds on demand. */
const KILLS = Number(process.env.NESTBOX_KILLS ?? 20)
const SLOTS = 2048
const DISK_BYTES = SLOTS * SLOT_BYTES
/** Batches that may have been answered without a word having come through. */
const UNHEARD = 4

const dir = mkdtempSync(join(tmpdir(), 'nestbox-kills-'))
const at = (name: string): string => join(dir, name)

async function contentOf(path: string): Promise<Buffer> {
  const disk = await openDisk(path, true, 'qcow2')
  const bytes = Buffer.alloc(DISK_BYTES)
  await disk.read(0, bytes)
  await disk.close()
  return bytes
}

/** A machine that runs the writing guest on an image until it is killed. */
class Writer {
  private readonly machine: KilledMachine

  constructor(entry: string, disk: string, readonly plan: WriterPlan, private readonly last: number) {
    this.machine = new KilledMachine(entry, {
      memoryMiB: 16, kernel: at('writer.bin'), commandLine: plan.commandLine, disks: [{ path: disk, format: 'qcow2', readOnly: false }],
      logDir: dir, translationsDir: at('translations'),
    })
  }

  /** Stamp of the last flush it told of. @throws Error where the guest was told of a failure */
  get acknowledged(): number {
    const lines = this.machine.said.split('\n').slice(0, -1)
    if (lines.includes('E')) throw new Error('a request of the guest failed')
    const line = lines.at(-1)
    return line === undefined ? this.last : Number.parseInt(line.slice(1), 16)
  }

  /** Resolves with the first flush that is told of. */
  writing(): Promise<void> {
    return this.machine.until((said) => said.includes('\n'))
  }

  snapshot(state: string, from: string, to: string): Promise<void> {
    return this.machine.snapshot(state, from, to)
  }

  kill(): Promise<void> {
    return this.machine.kill()
  }
}

/** Takes over what is certain, then what may be. */
function applyPlan(model: SlotModel, plan: WriterPlan, acknowledged: number, unheard: number): void {
  for (let open = 0; open < unheard;) {
    const batch = plan.batch()
    const isFlushed = (batch.at(-1)?.stamp ?? 0) <= acknowledged
    if (!isFlushed) open++
    model.apply(batch, isFlushed)
  }
}

describe('a machine whose process is killed', () => {
  let entry: string
  let stamp = 0

  beforeAll(async () => {
    entry = buildVmHostWithInterpreter()
    writeFileSync(at('writer.bin'), buildWriterKernel(SLOTS))
    await createQcow2(at('base.qcow2'), { sizeBytes: DISK_BYTES })
    const base = await openDisk(at('base.qcow2'), false, 'qcow2')
    for (let slot = 0; slot < SLOTS; slot += 3) await base.write(slot * SLOT_BYTES, slotBytes(slot, slot + 1))
    await base.close()
    stamp = SLOTS
  })
  afterAll(() => rmSync(dir, { recursive: true, force: true }))

  const based = Array.from({ length: SLOTS }, (_, slot) => (slot % 3 === 0 ? slot + 1 : 0))
  const empty = based.map(() => 0)

  it.each([
    { name: '64 KiB clusters', initial: empty, create: () => createQcow2(at('disk.qcow2'), { sizeBytes: DISK_BYTES }) },
    {
      name: '4 KiB clusters over another image, compacted now and then', initial: based, compacts: true,
      create: () => createQcow2(at('disk.qcow2'), { sizeBytes: DISK_BYTES, clusterBits: 12, backing: { path: 'base.qcow2', format: 'qcow2' } }),
    },
    {
      name: '512-byte clusters with a refcount table that grows, while snapshots are taken', initial: empty, snapshots: true,
      create: () => void execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', 'cluster_size=512,refcount_bits=64', at('disk.qcow2'), String(DISK_BYTES)]),
    },
  ])(`leaves a sound image with all that was flushed (${KILLS} kills): $name`, async ({ initial, create, compacts, snapshots }) => {
    rmSync(at('disk.qcow2'), { force: true })
    await create()
    const model = new SlotModel(initial)
    let flushes = 0
    for (let round = 1; round <= KILLS; round++) {
      const plan = new WriterPlan(Math.imul(round, 2654435761) | 1, stamp, SLOTS)
      const writer = new Writer(entry, at('disk.qcow2'), plan, stamp)
      await writer.writing()
      if (snapshots && round % 3 === 0) await snapshotDuring(writer, model, stamp)
      // Some while it boots hardly begun, most while tables are full of changes.
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 250))
      await writer.kill()
      checkSound(at('disk.qcow2'), true)
      if (writer.acknowledged > stamp) flushes++
      applyPlan(model, plan, writer.acknowledged, UNHEARD)
      stamp = writer.acknowledged + 8 * UNHEARD
      if (compacts && round % 5 === 0) await compactDisk(at('disk.qcow2'), 'qcow2')
      model.verify(await contentOf(at('disk.qcow2')))
    }
    expect(flushes).toBe(KILLS)
  }, 20_000 + KILLS * 5000)

  /** Another kill follows at once, maybe while the snapshot is written: if it was said to be done, it is whole. */
  async function snapshotDuring(writer: Writer, before: SlotModel, last: number): Promise<void> {
    const sure = writer.acknowledged
    for (const name of ['state.nbs', 'copy.qcow2']) rmSync(at(name), { force: true })
    const done = writer.snapshot(at('state.nbs'), at('disk.qcow2'), at('copy.qcow2'))
    if (Math.random() < 0.5) return void done.catch(() => undefined)
    await done
    copyFileSync(at('copy.qcow2'), at('taken.qcow2'))
    checkSound(at('taken.qcow2'), true)
    expect(existsSync(at('state.nbs'))).toBe(true)
    const model = before.copy()
    const plan = new WriterPlan(parseInt(writer.plan.commandLine.slice(0, 8), 16) | 0, last, SLOTS)
    const batches = Math.max(0, writer.acknowledged - sure)
    applyPlan(model, plan, sure, batches + UNHEARD)
    model.verify(await contentOf(at('taken.qcow2')))
  }
})
