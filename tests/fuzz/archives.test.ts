/** Random damage to archives that machines are imported from: a ServiceError that says what is wrong, or a machine within its folder. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { pack } from 'tar-stream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { exportArchive } from '../../src/main/services/archive/nestbox-archive'
import { ServiceError } from '../../src/main/services/errors'
import { DEFAULT_SETTINGS } from '../../src/main/services/library/defaults'
import { exportMachine } from '../../src/main/services/transfer/export'
import { importMachine } from '../../src/main/services/transfer/import'
import type { MachineRecord, Progress } from '../../src/main/services/types'

const SEED = Number(process.env.FUZZ_SEED ?? 1)
const ROUNDS = Number(process.env.FUZZ_ROUNDS ?? 400)
/** Each writes and syncs a whole archive first. */
const MADE_ROUNDS = Math.ceil(ROUNDS / 4)
/** Of a stranger's file; anything else would be a fault of ours. */
const CODES = ['bad-archive', 'bad-disk', 'checksum-mismatch', 'unsupported', 'disk-full', 'file-missing', 'file-unreadable']
const ID = '6b1f3a2e-0f3c-4f5e-9d0e-0123456789ab'
const dir = mkdtempSync(join(tmpdir(), 'nestbox-fuzz-archive-'))
const progress: Progress = { report: () => undefined, signal: new AbortController().signal }

function random(seed: number): (below: number) => number {
  let state = (seed * 2654435761) >>> 0
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}
type Next = ReturnType<typeof random>

const HOSTILE = ['', '..', '../x', '/etc/passwd', 'disks/..', 'disks/../../x', 'boot/0-kernel', 'snapshot.json', 'bundle.json', 'machine.json', 'a\u0000b', 'x'.repeat(5000), '\u202e', 'C:\\x', 'qcow2', 'vmdk']
const CHUNK = 100
const NUMBERS = [-1, 0, 0.5, 1, 2 ** 31, 2 ** 32, 2 ** 53, 1e300]

/** Another value somewhere in it. */
function mutate(value: unknown, next: Next): unknown {
  if (typeof value === 'object' && value !== null && next(8) > 0) {
    const keys = Object.keys(value)
    if (keys.length > 0) {
      const key = keys[next(keys.length)]
      if (Array.isArray(value)) return next(6) === 0 ? [...(value as unknown[]), ...(value as unknown[])] : value.map((entry: unknown, i) => (String(i) === key ? mutate(entry, next) : entry))
      const changed: Record<string, unknown> = { ...value, [key]: mutate((value as Record<string, unknown>)[key], next) }
      if (next(10) === 0) Reflect.deleteProperty(changed, key)
      return changed
    }
  }
  switch (next(5)) {
    case 0: return NUMBERS[next(NUMBERS.length)]
    case 1: return null
    case 2: return next(2) === 0
    default: return HOSTILE[next(HOSTILE.length)]
  }
}

function damage(original: Buffer, next: Next): Buffer {
  const bytes = Buffer.from(original.subarray(0, next(6) === 0 ? next(original.length) : original.length))
  for (let i = next(6); i >= 0 && bytes.length > 0; i--) {
    // Most of what decides is in the headers of the members.
    const at = next(2) === 0 ? next(bytes.length) : Math.min(bytes.length - 1, 512 * next(Math.ceil(bytes.length / 512)) + next(160))
    bytes[at] = next(2) === 0 ? next(256) : bytes[at] ^ (1 << next(8))
  }
  return bytes
}

/** Of the member whose header is at `header`. */
const sizeIn = (tar: Buffer, header: number): number => parseInt(tar.toString('latin1', header + 124, header + 135), 8)

async function tarOf(members: readonly { readonly name: string; readonly data: Buffer }[]): Promise<Buffer> {
  const tar = pack()
  for (const { name, data } of members) tar.entry({ name }, data)
  tar.finalize()
  const parts: Buffer[] = []
  for await (const part of tar) parts.push(part as Buffer)
  return Buffer.concat(parts)
}

describe('archives of machines, damaged', () => {
  const record: MachineRecord = {
    id: ID, dir: join(dir, 'machine'), createdAt: '',
    settings: { ...DEFAULT_SETTINGS, name: 'm', kernel: join(dir, 'kernel'), disks: [{ path: join(dir, 'disk.img'), format: 'raw', readOnly: false }] },
  }
  const snapshot = {
    version: 1, id: ID, name: 's', notes: '', createdAt: '2026-01-01T00:00:00Z', parent: null, kind: 'user', hasState: true,
    settings: { ...record.settings, kernel: 'boot/0-kernel', disks: [{ path: 'disks/1-disk.img', format: 'raw', readOnly: false }] }, disks: [{ path: 'disks/1-disk.img', file: 'disk0.img' }],
  }
  const bundle = { version: 1, settings: snapshot.settings, isTemplate: false, snapshots: [snapshot], current: ID }
  const files = { 'boot/0-kernel': 'k', 'disks/1-disk.img': 'd', 'saved/state.nbs': 's', [`snapshots/${ID}/disk0.img`]: 'd', [`snapshots/${ID}/state.nbs`]: 's' }
  let ova: Buffer
  let nestbox: Buffer

  beforeAll(async () => {
    mkdirSync(record.dir)
    writeFileSync(join(dir, 'kernel'), 'a kernel')
    writeFileSync(join(dir, 'disk.img'), Buffer.concat([Buffer.from('boot'), Buffer.alloc(200_000), Buffer.alloc(700, 7)]))
    const exported = async (format: 'ova' | 'nestbox'): Promise<Buffer> => {
      await exportMachine(record, { path: join(dir, `good.${format}`), format, snapshots: true }, progress)
      return readFileSync(join(dir, `good.${format}`))
    }
    ova = await exported('ova')
    nestbox = await exported('nestbox')
  })
  afterAll(() => rmSync(dir, { recursive: true, force: true }))

  /** @returns whether a machine came of it */
  async function attempt(bytes: Buffer, ending: string, what: string): Promise<boolean> {
    const area = join(dir, 'area')
    const into = join(area, 'into')
    rmSync(area, { recursive: true, force: true })
    mkdirSync(into, { recursive: true })
    const path = join(dir, `bad${ending}`)
    writeFileSync(path, bytes)
    const before = readdirSync(dir).sort()
    try {
      const { machine: { settings } } = await importMachine(path, { id: ID, dir: into, finalDir: '/final' }, progress)
      for (const file of [settings.kernel ?? '', settings.initrd ?? '', ...(settings.disks ?? []).map((disk) => disk.path)]) {
        if (file !== '') expect(file, what).toMatch(/^\/final\/(boot|disks)\/[\w.-]+$/)
      }
      return true
    } catch (error) {
      if (!(error instanceof ServiceError) || !CODES.includes(error.code)) throw new Error(`${what}: ${String(error)}`, { cause: error })
      return false
    } finally {
      expect(readdirSync(area), what).toEqual(['into'])
      expect(readdirSync(dir).sort(), what).toEqual(before)
    }
  }

  it('undamaged they are imported', async () => {
    expect(await attempt(ova, '.ova', 'ova')).toBe(true)
    expect(await attempt(nestbox, '.nestbox', 'nestbox')).toBe(true)
  })

  it.each(['.ova', '.nestbox'])('bytes of %s', async (ending) => {
    for (let round = 0; round < ROUNDS / 2; round++) {
      await attempt(damage(ending === '.ova' ? ova : nestbox, random(SEED * 100_003 + round)), ending, `FUZZ_SEED=${SEED} ${ending} round ${round}`)
    }
  })

  it('the description of a machine in our own archive, with right checksums', async () => {
    for (let round = 0; round < MADE_ROUNDS; round++) {
      const next = random(SEED * 200_003 + round)
      const about = Buffer.from(JSON.stringify(next(20) === 0 ? mutate(null, next) : mutate(bundle, next)))
      const path = join(dir, 'made')
      await exportArchive('m', [{ name: 'bundle.json', data: about }, ...Object.entries(files).map(([name, data]) => ({ name, data: Buffer.from(data) }))], path, progress)
      const bytes = readFileSync(path)
      rmSync(path)
      await attempt(bytes, '.nestbox', `FUZZ_SEED=${SEED} bundle round ${round}`)
    }
  })

  it.each([['a plain disk', false], ['a disk compressed and in chunks', true]])('the description of an OVA with %s, without a manifest', async (_what, isPacked) => {
    const written = ova.toString('utf8', 512, 512 + sizeIn(ova, 0))
    const start = ova.indexOf('KDMV')
    const disk = ova.subarray(start, start + sizeIn(ova, start - 512))
    const packed = gzipSync(disk)
    const xml = isPacked ? written.replace('ovf:href="m-disk1.vmdk"', `ovf:compression="gzip" ovf:chunkSize="${CHUNK}" ovf:href="m-disk1.vmdk"`).replace(/(?<="m-disk1.vmdk"[^>]*ovf:size=")\d+/, String(packed.length)) : written
    const files = isPacked ? Array.from({ length: Math.ceil(packed.length / CHUNK) }, (_, i) => ({ name: `m-disk1.vmdk.${String(i).padStart(9, '0')}`, data: packed.subarray(i * CHUNK, (i + 1) * CHUNK) }))
      : [{ name: 'm-disk1.vmdk', data: disk }]
    expect(await attempt(await tarOf([{ name: 'm.ovf', data: Buffer.from(xml) }, ...files, { name: 'kernel', data: Buffer.from('k') }]), '.ova', 'undamaged')).toBe(true)
    const made = (next: Next): Buffer[] => files.map(({ data }) => (isPacked && next(4) === 0 ? damage(data, next) : data))
    for (let round = 0; round < MADE_ROUNDS; round++) {
      const next = random(SEED * 300_007 + round)
      // A value or a name in the text is replaced by a hostile one, or the text is damaged.
      const values = [...xml.matchAll(/(?<=["> ])[\w:./#-]+(?=["<])/g)]
      const hit = values[next(values.length)]
      const instead = next(3) === 0 ? String(NUMBERS[next(NUMBERS.length)]) : HOSTILE[next(HOSTILE.length)].replace(/[<&"]/g, '')
      const text = next(3) === 0 ? damage(Buffer.from(xml), next) : Buffer.from(xml.slice(0, hit.index) + instead + xml.slice(hit.index + hit[0].length))
      const parts = made(next).map((data, i) => ({ name: files[i].name, data }))
      await attempt(await tarOf([{ name: 'm.ovf', data: text }, ...parts, { name: 'kernel', data: Buffer.from('k') }]), '.ova', `FUZZ_SEED=${SEED} ovf round ${round}`)
    }
  })
})
