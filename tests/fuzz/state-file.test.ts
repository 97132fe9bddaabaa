/**
 * Random damage to files of saved states, with their checksums made right again as a stranger's archive could have them: an error
 * that says what is wrong, or a state that reads. And other values in what a machine is continued from.
 */
import { randomUUID } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { deflateRawSync, inflateRawSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { crc32 } from '../../src/main/host/crc32'
import { decodeHeader } from '../../src/main/host/state-header'
import { decodeIndex, decodeTrailer, encodeIndex, encodeTrailer, TRAILER_BYTES, type PieceRecord } from '../../src/main/vm-host/state-file/format'
import { Inherited } from '../../src/main/vm-host/state-file/inherited'
import { baseFile, StateFile } from '../../src/main/vm-host/state-file/reader'
import { writeStateFile } from '../../src/main/vm-host/state-file/writer'
import { VmmError } from '../../src/main/vmm/errors'
import type { MachineConfig, MachineState } from '../../src/main/vmm/machine'
import { FrameTable } from '../../src/main/vmm/memory/frame-table'
import { PhysicalRam } from '../../src/main/vmm/memory/guest-memory'
import { LazyRam } from '../../src/main/vmm/memory/lazy-ram'
import { RamCapture } from '../../src/main/vmm/memory/ram-capture'
import { buildTinyKernel, GUESTS } from '../fixtures/tiny-kernel'
import { randomNumbers } from '../fixtures/random'
import { Rig } from '../state/rig'

const SEED = Number(process.env.FUZZ_SEED ?? 1)
const ROUNDS = Number(process.env.FUZZ_ROUNDS ?? 400)
const MIB = 1 << 20
const PAGE = 4096
/** What may be said of a file of a stranger; anything else would be a fault of ours. */
const CODES = ['state-damaged', 'state-mismatch', 'bad-state', 'disk-io', 'bad-config']
const dir = mkdtempSync(join(tmpdir(), 'nestbox-fuzz-state-'))
const memoryDir = join(dir, 'memory')
afterAll(() => rmSync(dir, { recursive: true, force: true }))

type Next = (below: number) => number
const state = (memoryMiB: number): MachineState => ({
  version: 1, hardware: { memoryMiB, cpuProfile: 'nestbox64', cpuFeatures: [], disks: [], nsPerInstruction: null }, devices: {},
})

function ramOf(mib: number): PhysicalRam {
  const pages = mib * MIB / PAGE
  const buffer = new SharedArrayBuffer(PAGE + pages * PAGE)
  return new PhysicalRam(buffer, new FrameTable(buffer, { tableBase: 0, framesBase: PAGE, ramBytes: pages * PAGE }))
}

/** A state that builds on another one: pages that pack, and pages that do not. */
async function makeFiles(): Promise<string> {
  mkdirSync(memoryDir)
  const ram = ramOf(2)
  const next = randomNumbers(7)
  const fill = (page: number): void => void ram.write(page * PAGE, page % 3 === 0 ? Uint8Array.from({ length: PAGE }, () => next(256)) : Buffer.alloc(PAGE, `page ${page} `))
  for (let page = 0; page < 400; page++) fill(page)
  const first = randomUUID()
  await writeStateFile(baseFile(memoryDir, first), { state: state(2), memory: new RamCapture(ram, [], { isBase: true }) }, { id: first })
  for (let page = 0; page < 60; page += 7) fill(page + 1)
  const base = StateFile.open(baseFile(memoryDir, first), memoryDir)
  const inherited = new Inherited(base)
  const path = join(dir, 'state.nbs')
  await writeStateFile(path, { state: state(2), memory: new RamCapture(ram, [], { also: inherited.also }) }, { id: randomUUID(), inherited })
  base.close()
  return path
}

interface Parts { readonly header: Buffer; readonly pieces: Buffer; readonly machine: string; readonly records: PieceRecord[] }

function partsOf(path: string): Parts {
  const bytes = readFileSync(path)
  const header = decodeHeader(path, bytes)
  const { machine, index } = decodeTrailer(path, bytes.subarray(-TRAILER_BYTES), header.bytes, bytes.length)
  return {
    header: bytes.subarray(0, header.bytes), pieces: bytes.subarray(header.bytes, machine.offset),
    machine: inflateRawSync(bytes.subarray(machine.offset, machine.offset + machine.length)).toString(),
    records: decodeIndex(path, header.version, bytes.subarray(index.offset, index.offset + index.length), () => Infinity),
  }
}

/** The file with these parts, and every checksum right but those of pieces. */
function assembled({ header, pieces, machine, records }: Parts): Buffer {
  const [packed, index] = [deflateRawSync(machine), Buffer.from(encodeIndex(records))]
  const offset = header.length + pieces.length
  const section = (at: number, part: Buffer): { offset: number; length: number; crc: number } => ({ offset: at, length: part.length, crc: crc32(part) })
  const trailer = encodeTrailer({ machine: section(offset, packed), index: section(offset + packed.length, index) })
  return Buffer.concat([header, pieces, packed, index, trailer])
}

const EXTREMES = [-1, 0, 1, 0.5, 15, 16, 255, 65535, 65536, 2 ** 31, 2 ** 32 - 1, 2 ** 53, 1e300, NaN]
const extreme = (next: Next): number => EXTREMES[next(EXTREMES.length)]

function damagedHeader(header: Buffer, next: Next): Buffer {
  const copy = Buffer.from(header)
  copy[next(copy.length - 4)] = next(256)
  copy.writeUInt32LE(crc32(copy.subarray(0, copy.length - 4)), copy.length - 4)
  return copy
}

/** A field of a record is another one; the checksum of its piece is made right for where it says it is. */
function damagedRecord(record: PieceRecord, bytesBefore: Buffer, next: Next): PieceRecord {
  const field = (['chunk', 'source', 'offset', 'length', 'mask', 'live', 'packing'] as const)[next(7)]
  const width = { chunk: 2 ** 32, source: 65536, offset: Infinity, length: 2 ** 32, mask: 65536, live: 65536, packing: 65536 }[field]
  const value = next(2) === 0 ? record[field] + next(5) - 2 : extreme(next)
  const isPossible = field === 'offset' || (Number.isInteger(value) && value >= 0 && value < width)
  const changed = { ...record, [field]: isPossible ? value : 0 } as PieceRecord
  if (changed.source !== 0 || !(changed.offset >= 0) || changed.length > MIB) return changed
  return { ...changed, crc: crc32(bytesBefore.subarray(changed.offset, changed.offset + changed.length)) }
}

function damagedPieces({ header, pieces, records }: Parts, next: Next): Pick<Parts, 'pieces' | 'records'> {
  const copy = Buffer.from(pieces)
  for (let i = next(8); i >= 0; i--) copy[next(copy.length)] ^= 1 << next(8)
  const all = Buffer.concat([header, copy])
  return { pieces: copy, records: records.map((record) => (record.source === 0 ? { ...record, crc: crc32(all.subarray(record.offset, record.offset + record.length)) } : record)) }
}

/** Another value somewhere in it. */
function mutate(value: unknown, next: Next): unknown {
  if (typeof value === 'object' && value !== null && next(12) > 0) {
    const keys = Object.keys(value)
    const key = keys[next(keys.length)]
    if (key !== undefined) {
      if (Array.isArray(value)) return value.map((entry: unknown, i) => (String(i) === key ? mutate(entry, next) : entry))
      const changed: Record<string, unknown> = { ...value, [key]: mutate((value as Record<string, unknown>)[key], next) }
      if (next(10) === 0) Reflect.deleteProperty(changed, key)
      return changed
    }
  }
  switch (next(6)) {
    case 0: return null
    case 1: return next(2) === 0
    case 2: return ['', 'x', '0x1', '-1', '99999999999999999999999'][next(5)]
    case 3: return next(2) === 0 ? [] : {}
    default: return extreme(next)
  }
}

/** @returns whether all of it reads */
function reads(path: string, what: string): boolean {
  let file: StateFile | undefined
  try {
    file = StateFile.open(path, memoryDir)
    const ram = ramOf(2)
    const lazy = new LazyRam(ram, file)
    const page = new Uint8Array(PAGE)
    for (let at = 0; at < 512; at++) ram.read(at * PAGE, page)
    return lazy.touched > 0
  } catch (error) {
    if (!(error instanceof VmmError) || !CODES.includes(error.code)) throw new Error(`${what}: ${String(error)}`, { cause: error })
    expect(error.message, what).not.toMatch(/undefined|\[object/)
    return false
  } finally {
    file?.close()
  }
}

describe('files of states, damaged', () => {
  let path: string
  let parts: Parts
  beforeAll(async () => {
    path = await makeFiles()
    parts = partsOf(path)
  })

  const kinds: Readonly<Record<string, (next: Next) => Buffer>> = {
    'any byte': (next) => {
      const bytes = readFileSync(path)
      const copy = Buffer.from(next(6) === 0 ? bytes.subarray(0, next(bytes.length)) : bytes)
      for (let i = next(4); i >= 0 && copy.length > 0; i--) copy[next(2) === 0 ? next(copy.length) : Math.max(0, copy.length - 1 - next(600))] = next(256)
      return copy
    },
    'the header, with a right checksum': (next) => assembled({ ...parts, header: damagedHeader(parts.header, next) }),
    'the index, with right checksums': (next) => {
      const at = next(parts.records.length)
      const all = Buffer.concat([parts.header, parts.pieces])
      return assembled({ ...parts, records: parts.records.map((record, i) => (i === at ? damagedRecord(record, all, next) : record)) })
    },
    'packed memory, with right checksums': (next) => assembled({ ...parts, ...damagedPieces(parts, next) }),
    'the machine': (next) => assembled({ ...parts, machine: next(5) === 0 ? parts.machine.slice(0, next(parts.machine.length)) : JSON.stringify(mutate(JSON.parse(parts.machine), next)) }),
  }

  it.each(Object.keys(kinds))(`%s (${ROUNDS} times): refused with what is wrong, or it reads`, (kind) => {
    const made = join(dir, 'made.nbs')
    writeFileSync(made, assembled(parts))
    expect(reads(made, 'undamaged')).toBe(true)
    const before = process.memoryUsage().rss
    let refused = 0
    for (let round = 0; round < ROUNDS; round++) {
      const next = randomNumbers(SEED * 400_009 + round)
      writeFileSync(made, kinds[kind](next))
      if (!reads(made, `FUZZ_SEED=${SEED} ${kind} round ${round}`)) refused++
    }
    expect(refused).toBeGreaterThan(ROUNDS / 20)
    expect(process.memoryUsage().rss - before).toBeLessThan(512 << 20)
  })
})

describe('what a machine is continued from, with other values', () => {
  const config: MachineConfig = {
    name: 'spin', uuid: '00000000-0000-4000-8000-000000000001', memoryMiB: 16, cpuProfile: 'nestbox64',
    kernel: { image: buildTinyKernel(GUESTS.spin), commandLine: '' }, disks: [], maxTier: 0, onReset: 'stop', deterministic: { nsPerInstruction: 10 },
  }

  it('is refused by name, or continues', async () => {
    const rig = new Rig(config)
    await rig.run(50_000)
    const saved = rig.capture()
    let [refused, continued] = [0, 0]
    for (let round = 0; round < Math.ceil(ROUNDS / 8); round++) {
      const next = randomNumbers(SEED * 500_009 + round)
      const text = JSON.stringify(mutate(JSON.parse(saved.state), next))
      try {
        const { machine } = new Rig(config, { ...saved, state: text })
        machine.runSlice(20_000)
        continued++
      } catch (error) {
        if (!(error instanceof VmmError) || !CODES.includes(error.code)) throw new Error(`FUZZ_SEED=${SEED} round ${round}: ${String(error)}`, { cause: error })
        refused++
      }
    }
    expect([refused > 0, continued > 0]).toEqual([true, true])
  })
})
