/**
 * Bare-metal kernels, assembled now, run on our processor and under QEMU's translator: what they write must be equal.
 * Each kernel runs on each tier. Where QEMU strays from the manual, the manual counts (`deviations.ts`).
 */
import { afterAll, describe, expect, it, vi } from 'vitest'
import { NodeWasmEngine } from '../../src/main/host'
import { compileWhole, machineCodeOf } from '../../src/main/host/machine-code'
import { furtherPages } from '../../src/main/vmm/cpu/dbt/region-pages'
import { decodePack, encodePack, loopsOfPack } from '../../src/main/vmm/cpu/dbt/translation-pack'
import { prebuildInterpreter } from '../../src/main/vmm/cpu/interp/prebuilt'
import { isaRows } from '../../src/main/vmm/cpu/isa'
import { completePack, packModule, type KeptTranslations } from '../../src/main/vmm/machine'
import { DEVIATIONS } from './deviations'
import { LateTranslator } from './late-translator'
import { Workshop } from './qemu'
import { powerOnSignature, runKernel, type RigRun, type Tier } from './rig'

const KERNELS = [
  'segments', 'tasks', 'v86', 'paging32', 'paging64', 'debug', 'calls32', 'calls64', 'rings64', 'rings32', 'near64', 'pages64', 'control32', 'control64',
  'devices', 'spans64', 'moved64', 'flow32',
]
/** QEMU has no right answer to these: every line tells the manual's. */
const BY_MANUAL = ['watch', 'pcid', 'reserved32', 'reserved64', 'vme']

/** Over before there are many modules. */
const SHORT = new Set(['control64', 'reserved64'])

const shop = new Workshop()
afterAll(() => shop.close())

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined
  return () => (made ??= { value: make() }).value
}

const nameOf = (line: string): string => line.split(': ', 1)[0]

/** A line by the manual: `name |result|section: what came`. */
function manualResult(line: string): { result: string; came: string } | undefined {
  const match = /\|(.*?)\|[^:]*: (.*)$/.exec(line)
  return match ? { result: match[1], came: match[2] } : undefined
}

/** Every fact of the manual's result is in the line. A list of debug exceptions, which tells its end, is the whole line. */
const holds = ({ result, came }: { result: string; came: string }): boolean =>
  /(^| )end$/.test(result) ? came === result : result.split(' ').every((fact) => ` ${came}`.includes(` ${fact}`))

/** Differences of our lines from QEMU's, or from the manual where QEMU does not follow it. */
function differences(kernel: string, ours: string, theirs: string): string[] {
  const mine = ours.split('\n')
  const reference = theirs.split('\n')
  const known = new Map(DEVIATIONS.filter((d) => d.kernel === kernel).map((d) => [d.line, d.expected]))
  const found: string[] = []
  for (let i = 0; i < Math.max(mine.length, reference.length); i++) {
    const line = mine[i] ?? ''
    const manual = manualResult(line)
    const expected = known.get(nameOf(line)) ?? reference[i]
    if (manual ? !holds(manual) : line !== expected) found.push(`ours:     ${line}\nexpected: ${manual ? manual.result : expected}`)
  }
  return found
}

const TIERS: readonly Tier[] = [0, 1, 2]

describe.each(KERNELS)('%s', (name) => {
  const assembled = once(() => shop.assemble(name))
  const reference = once(() => shop.runQemu(assembled(), name))

  it.each(TIERS)('does what QEMU does, or the manual, on tier %i', (tier) => {
    const theirs = reference()
    const ours = runKernel(assembled().image, tier)
    expect(differences(name, ours.log, theirs).slice(0, 20)).toEqual([])
    expect(ours.log.split('\n').length).toBe(theirs.split('\n').length)
    expect(ours.log).toMatch(/\nexit\n$/)
  })
})

it.each(['paging32', 'paging64', 'pcid'])('%s has its TLB misses dealt with in generated code', (name) => {
  expect(runKernel(shop.assemble(name).image, 0).filled).toBeGreaterThan(10)
})

const packOf = ({ translations }: RigRun): KeptTranslations => ({ pack: translations ?? new Uint8Array(0) })

// A block's first entry is tier 0's, and kernels run most code once: only a second run has all of it translated.
it.each([...KERNELS, ...BY_MANUAL])('%s does the same with the translations of an earlier run', (name) => {
  const { image } = shop.assemble(name)
  const cold = runKernel(image, 2)
  const warm = runKernel(image, 2, packOf(cold))
  expect(warm.log).toBe(cold.log)
  expect(warm.adopted).toBeGreaterThan(10)
})

// Also of the blocks that a run leaves to the process that compiles them: here that is all that was not translated.
it.each([...KERNELS, ...BY_MANUAL])('%s does the same with everything translated from its first entry on', (name) => {
  const { image } = shop.assemble(name)
  const cold = runKernel(image, 2)
  const { pack } = packOf(cold)
  const whole = completePack(pack, prebuildInterpreter(isaRows).plan, 'nestbox64') ?? pack
  expect(decodePack(whole).every((fn) => fn.isTranslated)).toBe(true)
  const warm = runKernel(image, 2, { pack: whole })
  expect(warm.log).toBe(cold.log)
  expect(warm.adopted).toBeGreaterThan(10)
})

it.each(['pages64', 'spans64'])('%s has loops that were over too soon, and are regions of the next machine', (name) => {
  const { image } = shop.assemble(name)
  const { pack } = packOf(runKernel(image, 2))
  const whole = completePack(pack, prebuildInterpreter(isaRows).plan, 'nestbox64') ?? pack
  const regions = (of: Uint8Array): number => decodePack(of).filter(({ kind }) => kind === 'region').length
  expect(regions(whole)).toBeGreaterThan(regions(pack))
  expect(loopsOfPack(whole)).toEqual([])
  const [all, some] = [whole, pack].map((translations) => runKernel(image, 2, { pack: translations }))
  expect(all.log).toBe(some.log)
  expect(all.regions).toBeLessThan(some.regions)
})

/** The image as a loader leaves it that moved its kernel by 256 MiB: the upper halves of its addresses are 0x9123 then. */
function moved(image: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(image)
  for (let i = 1; i < copy.length; i++) if (copy[i - 1] === 0x23 && copy[i] === 0x81) copy[i] = 0x91
  return copy
}

it('a kernel that was moved is known again, and has its own addresses', () => {
  const { image } = shop.assemble('moved64')
  const there = runKernel(moved(image), 2)
  const { translations, log } = runKernel(image, 2)
  const warm = runKernel(moved(image), 2, packOf({ ...there, translations }))
  expect(there.log).not.toBe(log)
  expect(warm.log).toBe(there.log)
  expect(warm.translated).toBeLessThan(there.translated / 4)
  // Without its accesses to a CPU's own data, or its round addresses, there are more.
  expect(warm.regions).toBeLessThan(2)
})

it('takes over regions across pages, too', () => {
  const { image } = shop.assemble('pages64')
  const { pack } = packOf(runKernel(image, 2))
  const ofOnePage = encodePack(decodePack(pack).filter((fn) => furtherPages(fn).length === 0))
  const [all, some] = [pack, ofOnePage].map((translations) => runKernel(image, 2, { pack: translations }))
  expect(all.log).toBe(some.log)
  expect(all.regions).toBeLessThan(some.regions)
})

// As the next process of this engine has it: nothing is compiled again.
it.each(['paging64', 'debug'])('%s does the same with the machine code of an earlier run', (name) => {
  const { image } = shop.assemble(name)
  const cold = runKernel(image, 2)
  const { pack } = packOf(cold)
  const wasm = packModule(pack, prebuildInterpreter(isaRows).plan)
  const revive = vi.spyOn(NodeWasmEngine.prototype, 'revive')
  const warm = runKernel(image, 2, { pack, compiled: { wasm, machineCode: machineCodeOf(compileWhole(wasm)) } })
  expect(revive.mock.results.map(({ value }) => value instanceof WebAssembly.Module)).toEqual([true])
  expect(warm.log).toBe(cold.log)
  expect(warm.adopted).toBeGreaterThan(10)
  revive.mockRestore()
})

// What it answers may be about code that is gone by then, or has changed under it.
it.each([...KERNELS, ...BY_MANUAL])('%s does the same with a translator on another thread', (name) => {
  const { image } = shop.assemble(name)
  const late = runKernel(image, 2, undefined, new LateTranslator())
  expect(late.log).toBe(runKernel(image, 2).log)
  expect(late.translated).toBeGreaterThan(10)
})

it('code is translated between slices once that thread is lost', () => {
  const { image } = shop.assemble('paging64')
  const thread = new LateTranslator({ lifetime: 10 })
  const run = runKernel(image, 2, undefined, thread)
  expect(thread.alive).toBe(false)
  expect(run.log).toBe(runKernel(image, 2).log)
  expect(run.translated).toBeGreaterThan(100)
})

// What ran in a module of its own stands elsewhere from one slice to the next, and some of it was dropped while the new one was made.
it.each([...KERNELS, ...BY_MANUAL].filter((name) => !SHORT.has(name)))('%s does the same where many modules become one', (name) => {
  const { image } = shop.assemble(name)
  const thread = new LateTranslator({ mergeEvery: 20 })
  const run = runKernel(image, 2, undefined, thread)
  expect(run.log).toBe(runKernel(image, 2).log)
  // The shortest kernel ends before there are modules enough.
  expect(thread.merged).toBeGreaterThanOrEqual(thread.answered > 50 ? 1 : 0)
})

/** Just enough for a block: what is decoded is dropped all the time. */
const TINY_DECODE_CACHE = 20 << 10

describe('where decoded code finds no room', () => {
  let returnedLate = 0

  it.each([...KERNELS, ...BY_MANUAL])('%s does the same', (name) => {
    const { image } = shop.assemble(name)
    const roomy = runKernel(image, 2)
    expect(roomy.returned).toBe(0)
    const tight = runKernel(image, 2, undefined, undefined, { decodeCacheBytes: TINY_DECODE_CACHE })
    expect(tight.log).toBe(roomy.log)
    // What is dropped but a few times need not have been translated by then.
    if (!SHORT.has(name)) expect(tight.returned).toBeGreaterThan(0)
    const late = runKernel(image, 2, undefined, new LateTranslator({ mergeEvery: 20 }), { decodeCacheBytes: TINY_DECODE_CACHE })
    expect(late.log).toBe(roomy.log)
    returnedLate += late.returned
  })

  // Of a short kernel that need not be one: its end may come before an answer does.
  it('translations that came late take their places again too', () => expect(returnedLate).toBeGreaterThan(0))
})

/** A few batches more: the bound is looked at where the next one is due. */
const FEW_FUNCTIONS = 40

describe('where there are more translations than are to be kept', () => {
  let dropped = 0

  it.each(['flow32', 'pages64', 'spans64', 'tasks'])('%s does the same, and no more are held', (name) => {
    const { image } = shop.assemble(name)
    const free = runKernel(image, 2)
    const bound = runKernel(image, 2, undefined, undefined, { mostFunctions: FEW_FUNCTIONS })
    expect(bound.log).toBe(free.log)
    expect(free.renewals).toBe(0)
    // The table goes with the functions: with every drop modules begin at none, or memory would grow all the same.
    expect([bound.most.functions, bound.most.modules].map((most) => most <= 2 * FEW_FUNCTIONS)).toEqual([true, true])
    if (bound.renewals === 0) expect(free.most.functions).toBeLessThanOrEqual(2 * FEW_FUNCTIONS)
    const late = runKernel(image, 2, packOf(free), new LateTranslator({ mergeEvery: 20 }), { mostFunctions: FEW_FUNCTIONS })
    expect(late.log).toBe(free.log)
    dropped += bound.renewals + late.renewals
  })

  it('all of them are dropped now and then', () => expect(dropped).toBeGreaterThan(10))
})

it('modules become one while the guest is busy', () => {
  const { image } = shop.assemble('segments')
  const thread = new LateTranslator()
  const run = runKernel(image, 2, undefined, thread)
  expect(thread.merged).toBeGreaterThan(0)
  expect(run.log).toBe(runKernel(image, 2).log)
})

it('modules become one without the thread that was to do it', () => {
  const { image } = shop.assemble('paging64')
  const thread = new LateTranslator({ diesMerging: true, mergeEvery: 20 })
  const run = runKernel(image, 2, undefined, thread)
  expect(thread.alive).toBe(false)
  expect(thread.merged).toBe(0)
  expect(run.log).toBe(runKernel(image, 2).log)
})

it.each(BY_MANUAL.flatMap((name) => TIERS.map((tier) => ({ name, tier }))))('$name does what the manual says, on tier $tier', ({ name, tier }) => {
  const { log } = runKernel(shop.assemble(name).image, tier)
  const lines = log.trimEnd().split('\n')
  expect(lines.pop()).toBe('exit')
  const wrong = lines.filter((line) => {
    const manual = manualResult(line)
    return !manual || !holds(manual)
  })
  expect(wrong).toEqual([])
  expect(lines.length).toBeGreaterThan(10)
})

it.each(TIERS)('user code is noticed from one halt to the next, on tier %i', (tier) => {
  const ran: boolean[] = []
  const { log } = runKernel(shop.assemble('halts').image, tier, undefined, undefined, { onHalt: (cpu) => ran.push(cpu.takeUserRan()) })
  expect(log).toMatch(/\nexit\n$/)
  // What ran before anybody asked is not known.
  expect(ran).toEqual([true, false, false, true, false, true, false])
})

it('power-on EDX is the signature CPUID tells', () => {
  const { edx, cpuid } = powerOnSignature()
  expect(edx).toBe(cpuid)
})
