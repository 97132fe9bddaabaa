/**
 * A Linux guest writes numbers to its disk and flushes each; its process is killed at any instant. The image is sound afterwards,
 * and every number is there that the guest had flushed. Each time it goes on from one snapshot of the writing guest, so that it
 * boots only once.
 */
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openDisk } from '../../src/main/host/disks/open'
import { createQcow2 } from '../../src/main/host/disks/qcow2/create'
import { buildVmHostWithInterpreter } from '../fixtures/build-vm-host'
import { KilledMachine } from '../fixtures/killed-machine'
import { checkSound } from '../fixtures/qemu-img'

const guest = fileURLToPath(new URL('../../.cache/guests/amd64-cloud', import.meta.url))
/** Hundreds on demand: `npm run kills`. */
const KILLS = Number(process.env.NESTBOX_KILLS ?? 12)
const BLOCK_BYTES = 4096
/** Scattered over so many clusters of 4 KiB that new tables are needed all the time. */
const BLOCKS = 8192
const STRIDE = 613
/** Bytes between two blocks: each write needs a new cluster. */
const SPACING = 4

const dir = mkdtempSync(join(tmpdir(), 'nestbox-linux-kills-'))
const at = (name: string): string => join(dir, name)
/** Where the guest writes number `n`. */
const blockOf = (n: number): number => ((n * STRIDE) % BLOCKS) * SPACING

/** busybox's shell: a number to its place, through to the medium, and only then told of. */
const LOOP = `n=0; while :; do n=$((n+1)); echo $n | dd of=/dev/vda bs=${BLOCK_BYTES} seek=$(($((n*${STRIDE}))%${BLOCKS}*${SPACING})) conv=sync,fsync,notrunc 2>/dev/null && echo "o""k:$n:"; done`

const acknowledged = (said: string): number => Number([...said.matchAll(/ok:(\d+):/g)].at(-1)?.[1] ?? 0)

/** Numbers that are where they belong; anything else that is neither a number nor zeroes is damage. */
async function numbersOn(path: string, upTo: number): Promise<Set<number>> {
  const disk = await openDisk(path, true, 'qcow2')
  const found = new Set<number>()
  try {
    const bytes = Buffer.alloc(BLOCK_BYTES)
    for (let n = 1; n <= upTo; n++) {
      await disk.read(blockOf(n) * BLOCK_BYTES, bytes)
      if (bytes.every((byte) => byte === 0)) continue
      expect(bytes.toString('latin1').replaceAll('\0', '')).toBe(`${n}\n`)
      found.add(n)
    }
  } finally {
    await disk.close()
  }
  return found
}

describe('a Linux guest whose process is killed', () => {
  let entry: string
  /** Flushed when the snapshot was taken. */
  let before: number

  const launch = (restore: boolean): KilledMachine => new KilledMachine(entry, {
    memoryMiB: 128, kernel: join(guest, 'vmlinuz'), initrd: join(guest, 'initrd.gz'), commandLine: 'console=ttyS0 panic=-1',
    disks: [{ path: at('disk.qcow2'), format: 'qcow2', readOnly: false }], logDir: dir, translationsDir: at('translations'),
    ...(restore && { savedState: { path: at('state.nbs'), memoryDir: at('memory'), use: 'restore' } }),
  })

  beforeAll(async () => {
    entry = buildVmHostWithInterpreter()
    await createQcow2(at('disk.qcow2'), { sizeBytes: BLOCKS * SPACING * BLOCK_BYTES, clusterBits: 12 })
    const machine = launch(false)
    await machine.until((said) => /NESTBOX-SHELL-READY[\s\S]*# /.test(said))
    machine.type(`${LOOP}\n`)
    await machine.until((said) => acknowledged(said) > 3)
    before = acknowledged(machine.said)
    await machine.snapshot(at('state.nbs'), at('disk.qcow2'), at('taken.qcow2'))
    await machine.kill()
  }, 300_000)
  afterAll(() => rmSync(dir, { recursive: true, force: true }))

  it(`leaves a sound image with all that was flushed (${KILLS} kills)`, async () => {
    for (let round = 0; round < KILLS; round++) {
      copyFileSync(at('taken.qcow2'), at('disk.qcow2'))
      const machine = launch(true)
      const more = 1 + Math.floor(Math.random() * 6)
      await machine.until((said) => acknowledged(said) >= before + more)
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 100))
      await machine.kill()
      checkSound(at('disk.qcow2'), true)
      const last = acknowledged(machine.said)
      const found = await numbersOn(at('disk.qcow2'), last)
      expect([...Array(last).keys()].map((i) => i + 1).filter((n) => !found.has(n)), `missing after ${last} were flushed`).toEqual([])
    }
  }, 60_000 + KILLS * 10_000)
})
