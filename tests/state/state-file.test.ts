/** State files by themselves: what is stored in them, what they take over from earlier ones, and what becomes of damage. */
import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { linkSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { decodeHeader } from '../../src/main/host/state-header'
import { Inherited } from '../../src/main/vm-host/state-file/inherited'
import { looksPacked } from '../../src/main/vm-host/state-file/pack'
import { baseFile, StateFile } from '../../src/main/vm-host/state-file/reader'
import { writeStateFile, type WriteFigures, type WriteOptions } from '../../src/main/vm-host/state-file/writer'
import { VmmError } from '../../src/main/vmm/errors'
import type { MachineState } from '../../src/main/vmm/machine'
import { FrameTable } from '../../src/main/vmm/memory/frame-table'
import { PhysicalRam } from '../../src/main/vmm/memory/guest-memory'
import { LazyRam, PageUnavailable } from '../../src/main/vmm/memory/lazy-ram'
import { RamCapture } from '../../src/main/vmm/memory/ram-capture'

const MIB = 1 << 20
const PAGE = 4096
const stateWith = (memoryMiB: number): MachineState => ({
  version: 1, hardware: { memoryMiB, cpuProfile: 'nestbox64', cpuFeatures: [], disks: [], nsPerInstruction: null }, devices: {},
})

/** Bytes that nothing packs, different for each seed. */
function noise(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length)
  let x = (Math.imul(seed, 0x9e3779b1) ^ 0x55555555) | 1
  for (let i = 0; i < length; i++) {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    bytes[i] = x >>> 11
  }
  return bytes
}

const text = (page: number): Uint8Array => Buffer.from(`page ${page}: `.padEnd(64).repeat(PAGE / 64))

let dir: string
let memoryDir: string

/** Memory of a machine, without the rest of one. */
class Memory {
  readonly ram: PhysicalRam
  private readonly file: StateFile | undefined
  readonly lazy: LazyRam | undefined
  /** The state it was last stored in. */
  stored: string | undefined

  constructor(from?: string, private readonly mib = 32) {
    const pages = mib * MIB / PAGE
    const framesBase = Math.ceil(pages * 4 / PAGE) * PAGE
    const buffer = new SharedArrayBuffer(framesBase + pages * PAGE)
    this.ram = new PhysicalRam(buffer, new FrameTable(buffer, { tableBase: 0, framesBase, ramBytes: pages * PAGE }))
    if (from === undefined) return
    this.file = StateFile.open(from, memoryDir)
    this.lazy = new LazyRam(this.ram, this.file)
    this.stored = from
  }

  close(): void {
    this.file?.close()
  }

  write(page: number, bytes: Uint8Array): void {
    this.ram.write(page * PAGE, bytes)
  }

  read(page: number): Uint8Array {
    const bytes = new Uint8Array(PAGE)
    this.ram.read(page * PAGE, bytes)
    return bytes
  }

  all(): Buffer {
    return Buffer.concat(Array.from({ length: this.mib * MIB / PAGE }, (_, page) => this.read(page)))
  }

  async save(name: string, hot: readonly number[] = [], more: Partial<WriteOptions> = {}): Promise<WriteFigures & { path: string; id: string }> {
    const [id, path] = [randomUUID(), join(dir, `${name}.nbs`)]
    const base = this.stored === undefined ? undefined : StateFile.open(this.stored, memoryDir)
    const inherited = base && new Inherited(base)
    const hosts = hot.map((page) => this.ram.frames.hostOffset(page))
    const memory = new RamCapture(this.ram, hosts, { isBase: true, ...(inherited && { also: inherited.also }) })
    try {
      const figures = await writeStateFile(path, { state: stateWith(this.mib), memory }, { id, ...(inherited && { inherited }), ...more })
      linkSync(path, baseFile(memoryDir, id))
      this.stored = path
      return { ...figures, path, id }
    } finally {
      base?.close()
    }
  }
}

const headerOf = (path: string): ReturnType<typeof decodeHeader> => decodeHeader(path, readFileSync(path))

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'nestbox-state-file-'))
  memoryDir = join(dir, 'memory')
  mkdirSync(memoryDir)
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

describe('what is stored', () => {
  it('nothing of what is zero, what packs packed, what does not as it is', async () => {
    const memory = new Memory()
    for (let page = 0; page < 256; page++) memory.write(page, new Uint8Array(PAGE))
    const zero = await memory.save('zero')
    expect(zero.memoryBytes).toBe(0)
    expect(zero.fileBytes).toBeLessThan(1000)

    for (let page = 1000; page < 1256; page++) memory.write(page, text(page))
    const packed = await memory.save('packed')
    expect(packed.memoryBytes).toBe(256 * PAGE)
    expect(packed.fileBytes).toBeLessThan(MIB / 8)

    for (let page = 2000; page < 2256; page++) memory.write(page, noise(PAGE, page))
    const raw = await memory.save('raw')
    expect(raw.memoryBytes).toBe(256 * PAGE)
    expect(raw.fileBytes - MIB).toBeGreaterThan(0)
    expect(raw.fileBytes - MIB).toBeLessThan(8192)
    expect(new Memory(raw.path).all().equals(memory.all())).toBe(true)
  })

  it('of a machine with 3 GiB up to its last page, also of what changed since', async () => {
    const pages = 3072 * MIB / PAGE
    const memory = new Memory(undefined, 3072)
    for (const page of [0, pages / 2 + 1, pages - 1]) memory.write(page, text(page))
    await memory.save('large')
    memory.write(pages - 2, text(7))
    const { path, memoryBytes } = await memory.save('changed')
    expect(memoryBytes).toBeLessThan(64 << 10)
    const again = new Memory(path, 3072)
    for (const [page, seed] of [[0, 0], [pages / 2 + 1, pages / 2 + 1], [pages - 1, pages - 1], [pages - 2, 7]]) expect([page, Buffer.compare(memory.read(page), text(seed)), Buffer.compare(again.read(page), text(seed))]).toEqual([page, 0, 0])
    again.close()
  })

  it('the same where somebody waits for it; what the threads cannot pack meanwhile as it is', async () => {
    const memory = new Memory()
    for (let page = 0; page < 7000; page++) memory.write(page, page % 3 === 0 ? noise(PAGE, page) : text(page))
    const seen: number[] = []
    const { path, memoryBytes, fileBytes } = await memory.save('alone', [6000], { alone: true, onProgress: (fraction) => seen.push(fraction) })
    expect(memoryBytes).toBe(7000 * PAGE)
    expect(fileBytes).toBeLessThan(memoryBytes)
    expect(seen).toEqual([...seen].sort((a, b) => a - b))
    expect(seen.length).toBeGreaterThan(4)
    expect(new Memory(path).all().equals(memory.all())).toBe(true)
    expect(StateFile.open(path, memoryDir).records[0].chunk).toBe(375)
  })

  it.each([[false], [true]])('nothing where it is cancelled or has no room; the pages count as changed still (alone: %s)', async (alone) => {
    const memory = new Memory()
    await memory.save('first')
    for (let page = 0; page < 6000; page++) memory.write(page, noise(PAGE, page))
    const abort = new AbortController()
    await expect(memory.save('cancelled', [], { alone, signal: abort.signal, onProgress: (done) => done > 0.3 && abort.abort() })).rejects.toThrow(/abort/)
    const limit = (bytes: number | 'unlimited'): void => void execFileSync('prlimit', ['--pid', String(process.pid), `--fsize=${bytes}:unlimited`])
    limit(8 * MIB)
    try {
      await expect(memory.save('full', [], { alone })).rejects.toThrow(/full\.nbs cannot be written: EFBIG/)
    } finally {
      limit('unlimited')
    }
    expect(readdirSync(dir).filter((name) => /cancelled|full/.test(name))).toEqual([])
    expect((await memory.save('second', [], { alone })).memoryBytes).toBe(6000 * PAGE)
  })

  it('only pages written since, by page and not by chunk', async () => {
    const memory = new Memory()
    for (let page = 0; page < 2048; page++) memory.write(page, noise(PAGE, page))
    expect((await memory.save('first')).memoryBytes).toBe(2048 * PAGE)
    const nothing = await memory.save('nothing')
    expect(nothing.memoryBytes).toBe(0)
    // One page in each of ten chunks, one of them now zero; and a page that was never written.
    for (let i = 0; i < 9; i++) memory.write(i * 160 + 3, noise(PAGE, 9000 + i))
    memory.write(9 * 160 + 3, new Uint8Array(PAGE))
    memory.write(4000, text(4000))
    const ten = await memory.save('ten')
    expect(ten.memoryBytes).toBe(10 * PAGE)
    expect(ten.fileBytes).toBeLessThan(10 * PAGE + 8192)
    expect(new Memory(ten.path).all().equals(memory.all())).toBe(true)
    // What is read, and what comes in behind, is unchanged: a restored machine stores only what it writes itself.
    const copy = new Memory(ten.path)
    copy.all()
    copy.write(7, text(7))
    expect((await copy.save('copy')).memoryBytes).toBe(PAGE)
  })

  it('tells noise from code and text', () => {
    for (let seed = 1; seed < 40; seed++) {
      expect(looksPacked(noise(16 * PAGE, seed))).toBe(true)
      expect(looksPacked(noise(PAGE, seed))).toBe(true)
    }
    expect(looksPacked(Buffer.concat(Array.from({ length: 16 }, (_, i) => text(i))))).toBe(false)
    expect(looksPacked(readFileSync(process.execPath).subarray(40 * MIB, 40 * MIB + 16 * PAGE))).toBe(false)
  })

  it('pages of a capture that came to nothing count as changed still', async () => {
    const memory = new Memory()
    memory.write(5, text(5))
    const first = await memory.save('first')
    memory.write(6, text(6))
    mkdirSync(join(dir, 'failed.nbs.tmp'))
    await expect(memory.save('failed')).rejects.toMatchObject({ code: 'disk-io' })
    memory.write(7, text(7))
    expect(memory.stored).toBe(first.path)
    const second = await memory.save('second')
    expect(second.memoryBytes).toBe(2 * PAGE)
    expect(new Memory(second.path).all().equals(memory.all())).toBe(true)
  })

  it('a chain of hundreds opens a handful of files, and none but those it needs have to be there', async () => {
    const memory = new Memory()
    for (let page = 0; page < 512; page++) memory.write(page, noise(PAGE, page))
    const first = await memory.save('0')
    let stored = 0
    let last = first
    for (let i = 1; i <= 300; i++) {
      memory.write((i * 7) % 1024, noise(PAGE, 10_000 + i))
      last = await memory.save(String(i))
      stored += last.memoryBytes
      expect(headerOf(last.path).bases.length).toBeLessThanOrEqual(16)
    }
    // What is stored again, so that there are so few, stays a small multiple of what changed.
    expect(stored).toBeGreaterThanOrEqual(300 * PAGE)
    expect(stored).toBeLessThan(300 * PAGE * 8)
    const { bases } = headerOf(last.path)
    for (const file of readdirSync(memoryDir)) if (!bases.includes(file.replace('.nbs', ''))) rmSync(join(memoryDir, file))
    for (let i = 0; i < 300; i++) rmSync(join(dir, `${i}.nbs`))
    expect(new Memory(last.path).all().equals(memory.all())).toBe(true)
    expect(bases).toContain(first.id)
  }, 120_000)

  it('what was in use comes first', async () => {
    const memory = new Memory()
    for (let page = 0; page < 1024; page++) memory.write(page, noise(PAGE, page))
    await memory.save('first')
    memory.write(3, text(3))
    const { path } = await memory.save('second', [800, 801, 3])
    const file = StateFile.open(path, memoryDir)
    expect(file.records.slice(0, 3).map(({ chunk, source }) => [chunk, source])).toEqual([[0, 0], [0, 1], [50, 1]])
    file.close()
  })
})

describe('damage', () => {
  async function two(): Promise<{ first: string; second: string; memory: Memory }> {
    const memory = new Memory(undefined, 1)
    for (let page = 0; page < 64; page++) memory.write(page, page % 2 === 0 ? noise(PAGE, page) : text(page))
    const { path: first } = await memory.save('first')
    for (let page = 0; page < 8; page++) memory.write(page * 5, text(1000 + page))
    const { path: second } = await memory.save('second')
    return { first, second, memory }
  }

  /** Reads all of it: every byte is right, or an error names the file. */
  function outcome(path: string, right: Buffer): string {
    let memory: Memory | undefined
    try {
      memory = new Memory(path, 1)
      return memory.all().equals(right) ? 'right' : 'WRONG'
    } catch (error) {
      if (!(error instanceof VmmError)) throw error
      expect(error.message).toContain(dir)
      return error instanceof PageUnavailable ? `page: ${error.code}` : error.code
    } finally {
      memory?.close()
    }
  }

  it('of any byte is refused at once or found when the page is needed; never is a byte wrong', async () => {
    const { first, second, memory } = await two()
    const right = memory.all()
    for (const path of [second, first]) {
      const bytes = readFileSync(path)
      const outcomes = new Set<string>()
      const step = Math.max(1, Math.floor(bytes.length / 400))
      const places = [...Array.from({ length: 100 }, (_, i) => i), ...Array.from({ length: 400 }, (_, i) => i * step), ...Array.from({ length: 300 }, (_, i) => bytes.length - 1 - i)]
      for (const at of places.filter((place) => place < bytes.length)) {
        const copy = Buffer.from(bytes)
        copy[at] ^= 1 << (at % 8)
        writeFileSync(path, copy)
        outcomes.add(outcome(second, right))
      }
      writeFileSync(path, bytes)
      expect(outcomes).not.toContain('WRONG')
      expect(outcomes).toContain('state-damaged')
      expect(outcomes).toContain('page: state-damaged')
    }
    expect(outcome(second, right)).toBe('right')
  })

  it('names file and place', async () => {
    const { first, second } = await two()
    const message = (path: string): string => {
      try {
        new Memory(path, 1).all()
        return ''
      } catch (error) {
        return (error as Error).message
      }
    }
    const bytes = readFileSync(second)
    const without = (part: Buffer): string => {
      writeFileSync(second, part)
      return message(second)
    }
    expect(without(bytes.subarray(0, 10))).toMatch(/second\.nbs is damaged: the file is too short/)
    expect(without(bytes.subarray(0, bytes.length - 1))).toMatch(/the end is missing/)
    expect(without(Buffer.from('something else, and long enough'))).toMatch(/the header is not that of a saved state/)
    const newer = Buffer.from(bytes)
    newer.writeUInt32LE(3, 8)
    expect(without(newer)).toMatch(/has file format 3; this program knows 2/)
    writeFileSync(second, bytes)
    const { id, bytes: begin } = headerOf(first)
    const base = baseFile(memoryDir, id)
    const whole = readFileSync(base)
    // Both names are of one file; chunks begin after the header.
    const hurt = Buffer.from(whole)
    hurt[begin + 100] ^= 1
    writeFileSync(base, hurt)
    expect(message(second)).toMatch(new RegExp(`${id}\\.nbs is damaged: memory chunk \\d+ \\(guest memory from 0x[0-9a-f]+\\) has a wrong checksum`))
    rmSync(base)
    expect(message(second)).toMatch(new RegExp(`second\\.nbs is damaged: its base .*${id}\\.nbs cannot be read`))
    writeFileSync(base, readFileSync(second))
    expect(message(second)).toMatch(/is the file of another state/)
  })

  it('a page that could not be had is there once the file is right again', async () => {
    const { second } = await two()
    const bytes = readFileSync(second)
    const { bytes: begin } = headerOf(second)
    const hurt = Buffer.from(bytes)
    hurt[begin + 20] ^= 1
    writeFileSync(second, hurt)
    const memory = new Memory(second, 1)
    const failures: string[] = []
    if (memory.lazy) memory.lazy.onFailure = ({ code }) => failures.push(code)
    expect(() => memory.all()).toThrow(PageUnavailable)
    expect(failures).toEqual(['state-damaged'])
    writeFileSync(second, bytes)
    expect(memory.read(0)).toEqual(new Uint8Array(text(1000)))
    expect(statSync(second).size).toBe(bytes.length)
  })
})

describe('what a guest touches first', () => {
  async function restored(): Promise<{ memory: Memory; file: StateFile; lazy: LazyRam; original: Memory }> {
    const original = new Memory()
    for (let page = 0; page < 640; page++) original.write(page, text(page))
    const { path } = await original.save('first')
    const memory = new Memory(path)
    if (!memory.lazy) throw new Error('not restored')
    return { memory, file: StateFile.open(path, memoryDir), lazy: memory.lazy, original }
  }
  const loadAll = async (file: StateFile, lazy: LazyRam): Promise<void> => {
    for (const record of file.records) lazy.provide(await file.loadAside(record))
    lazy.finish()
  }

  it('is noted in its order, whether it waited for the page or found it there', async () => {
    const { memory, file, lazy, original } = await restored()
    lazy.record(1000)
    memory.read(300)
    memory.write(17, text(9))
    expect(lazy.touched).toBe(2)
    await loadAll(file, lazy)
    memory.read(18)
    memory.read(300)
    memory.write(639, text(1))
    memory.read(5000)
    expect(lazy.touched).toBe(2)
    expect(lazy.workingSet).toEqual([300, 17, 18, 639])
    expect(lazy.isRecording).toBe(true)
    lazy.endRecording()
    memory.read(20)
    expect(lazy.workingSet).toEqual([300, 17, 18, 639])
    original.write(17, text(9))
    original.write(639, text(1))
    expect(memory.all().equals(original.all())).toBe(true)
    file.close()
  })

  it('ends with the most that is kept; all pages are as they were', async () => {
    const { memory, file, lazy, original } = await restored()
    lazy.record(3)
    await loadAll(file, lazy)
    for (const page of [5, 4, 3, 2, 1]) memory.read(page)
    expect(lazy.workingSet).toEqual([5, 4, 3])
    expect(lazy.isRecording).toBe(false)
    expect(memory.all().equals(original.all())).toBe(true)
    file.close()
  })

  it('is nobody waited for where it was loaded ahead', async () => {
    const { memory, file, lazy } = await restored()
    const pages = [300, 17, 18, 639, 8000]
    expect(file.piecesOf(pages).map(({ chunk }) => chunk)).toEqual([18, 1, 39])
    file.prefetch(pages)
    for (const piece of file.takePrefetched()) lazy.provide(await piece)
    expect(file.takePrefetched()).toEqual([])
    for (const page of pages) memory.read(page)
    expect(lazy.touched).toBe(0)
    memory.read(100)
    expect(lazy.touched).toBe(1)
    file.close()
  })
})
