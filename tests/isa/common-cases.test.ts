/**
 * The common cases of helpers, which are wasm, against their TypeScript and, those of the x87, against the real CPU: operands
 * of `x87-operands.ts`, every precision and rounding. NB_ISA_N: cases (default 3000 against TypeScript, a twentieth of it for each
 * form on the CPU). NB_ISA_SEED.
 */
import { beforeAll, describe, expect, it } from 'vitest'
import type { CpuContext } from '../../src/main/vmm/cpu/core/context'
import { createDecoder } from '../../src/main/vmm/cpu/decode/decode'
import type { Decode } from '../../src/main/vmm/cpu/decode/types'
import type { Helper } from '../../src/main/vmm/cpu/emit/emitter'
import { buildHelperBody, helperType } from '../../src/main/vmm/cpu/emit/wasm/helper-body'
import { ModuleBuilder } from '../../src/main/vmm/cpu/emit/wasm/module'
import { buildInterpreter } from '../../src/main/vmm/cpu/interp/builder'
import { isaRows } from '../../src/main/vmm/cpu/isa'
import { CpuState } from '../../src/main/vmm/cpu/state/access'
import { STATE_SIZE } from '../../src/main/vmm/cpu/state/layout'
import type { IsaCase, IsaEngine } from './engine'
import { differences, report } from './compare'
import { createNativeEngine, nativeProblem } from './native'
import { Random, interesting64 } from './random'
import { casesOf } from './rows'
import { createVcpuTestEngine } from './vcpu-engine'
import { operandAddress } from './undefined'
import { WINDOW, WINDOW_BYTES } from './records'
import { denseControl, denseOperand, denseOther, narrow, type Register } from './x87-operands'

const cases = Number(process.env.NB_ISA_N ?? 3000)
const seed = Number(process.env.NB_ISA_SEED ?? 1)
const AT = { expected: 0, actual: Math.ceil(STATE_SIZE / 64) * 64 } as const

/** Those that work on guest memory have `bulk-string.test.ts`. */
const helpers = buildInterpreter(isaRows).helpers.filter(({ common, isolated }) => common !== undefined && isolated)

type Run = (cpu: number, ...args: (number | bigint)[]) => number | bigint | undefined

/** The helpers as functions over one memory. What they leave to TypeScript is noted, and done by nobody. */
function assemble(): { readonly memory: WebAssembly.Memory; readonly run: (h: Helper) => Run; readonly fell: () => boolean } {
  const m = new ModuleBuilder()
  helpers.forEach((h) => m.importFunction('helper', h.name, helperType(h)))
  helpers.forEach((h, i) => m.setBody(m.defineFunction(helperType(h), h.name), buildHelperBody(h, i) as Uint8Array))
  const memory = new WebAssembly.Memory({ initial: Math.ceil((AT.actual + STATE_SIZE) / 65536), maximum: 65536, shared: true })
  const table = new WebAssembly.Table({ initial: 1, element: 'anyfunc' })
  let fell = false
  const imports = Object.fromEntries(helpers.map((h) => [h.name, () => {
    fell = true
    return h.returns === 'i64' ? 0n : 0
  }]))
  const module = new WebAssembly.Module(m.finish(65536, 1) as BufferSource)
  const { exports } = new WebAssembly.Instance(module, { env: { memory, table }, helper: imports })
  const fellNow = (): boolean => {
    const now = fell
    fell = false
    return now
  }
  return { memory, run: (h) => exports[h.name] as Run, fell: fellNow }
}

function setRegister(state: CpuState, physical: number, { top, sig }: Register): void {
  const bytes = state.vec('fpr', physical)
  const view = new DataView(bytes.buffer, bytes.byteOffset, 16)
  view.setBigUint64(0, sig, true)
  view.setUint16(8, top, true)
}

/** Two strings of few letters, which often share a part, and a way to compare them. */
function stringArguments(random: Random): (number | bigint)[] {
  const letters = random.pick([[0, 1], [1, 2], [0x41, 0x42, 0x43, 0], [0, 0x7f, 0x80, 0xff], [0x61, 0x7a]])
  const text = (): bigint => Array.from({ length: 8 }, () => BigInt(random.chance(95) ? random.pick(letters) : random.below(256))).reduce((all, x) => (all << 8n) | x, 0n)
  const [low, high] = [text(), text()]
  const length = (): bigint => (random.chance(80) ? BigInt.asUintN(64, BigInt(random.below(40) - 20)) : random.u64())
  return [random.below(0x200), low, high, random.chance(40) ? low : text(), random.chance(40) ? high : text(), length(), length()]
}

/** Arguments a row could pass: what they mean follows from the helper's name. */
function argumentsOf({ name, args }: Helper, random: Random, other: Register): (number | bigint)[] {
  const how = random.pick(name.startsWith('x87Sum') ? [0, 0x8000, 0x8000_0000] : name.startsWith('x87Quotient') ? [0, 2] : [0])
  if (name === 'crc32') {
    const width = random.pick([8, 16, 32, 64])
    return [random.u32(), BigInt.asUintN(width, random.u64()), width]
  }
  if (name === 'divideWide') {
    const divisor = random.chance(50) ? (random.u64() >> BigInt(random.below(63))) | 1n : other.sig | 1n
    const high = random.chance(30) ? divisor - 1n - BigInt(random.below(2)) % divisor : (interesting64(random) * divisor) >> 64n
    return [BigInt.asUintN(64, high) % divisor, interesting64(random), divisor]
  }
  if (name === 'compareStrings') return stringArguments(random)
  if (name === 'x87LoadExtended') return [other.sig, other.top]
  if (name === 'x87StoreInteger') return [random.pick([16, 32, 64]), random.below(2), random.below(2)]
  if (name === 'x87Sign') return random.pick([[0x7fff, 0], [0xffff, 0x8000]])
  const format = /(Single|Double|Integer)$/.exec(name)?.[1]
  const last = name.startsWith('x87Compare') ? random.below(8) : how
  if (format && !name.startsWith('x87Store')) {
    const bits = format === 'Integer' ? BigInt.asIntN(random.pick([16, 32, 64]), random.u64() >> BigInt(random.below(64))) : narrow(random, other, format === 'Single' ? 32 : 64)
    const whole = format === 'Single' ? Number(bits) : BigInt.asUintN(64, bits)
    return args.length === 2 ? [whole, last] : [whole]
  }
  if (name === 'x87Compare') return random.chance(20) ? [1, 8 + random.below(2)] : [random.below(8), random.below(8)]
  if (/^x87(Sum|Product|Quotient)$/.test(name)) return random.chance(50) ? [0, random.below(8), how] : [random.below(8), 0, how + random.below(2)]
  return args.map((_, i) => (i === 0 && name !== 'x87StoreSingle' && name !== 'x87StoreDouble' ? random.below(8) : random.below(2)))
}

function randomState(state: CpuState, random: Random, { name }: Helper): Register {
  state.bytes.fill(0)
  const first = denseOperand(random)
  const other = denseOther(random, first)
  const top = random.below(8)
  state.set('fsw', (top << 11) | (random.below(8) << 8) | (random.chance(30) ? random.below(0x40) : 0) | (random.chance(2) ? 0x8080 : 0))
  const pushes = name.startsWith('x87Load') ? 1 << ((top + 7) & 7) : 0
  state.set('ftw', (random.chance(90) ? 0xff : random.u32() & 0xff) & ~(random.chance(95) ? pushes : 0))
  state.set('fcw', denseControl(random))
  for (let i = 0; i < 8; i++) setRegister(state, (top + i) & 7, i === 0 ? first : random.chance(70) ? other : denseOther(random, first))
  return other
}

const shown = (state: CpuState): unknown => ({
  fsw: state.get('fsw').toString(16), ftw: state.get('ftw').toString(16), fcw: state.get('fcw').toString(16),
  registers: Array.from({ length: 8 }, (_, i) => Buffer.from(state.vec('fpr', i).subarray(0, 10)).reverse().toString('hex')),
  after: state.get64('scratch', 2).toString(16), high: state.get64('scratch', 3).toString(16),
})

describe('common cases of helpers, and their TypeScript', () => {
  const { memory, run, fell } = assemble()
  const expected = new CpuState(memory.buffer, AT.expected)
  const actual = new CpuState(memory.buffer, AT.actual)

  it.each(helpers.map((h) => [h.name, h] as const))('%s', (name, helper) => {
    const random = new Random(seed + name.length * 7919 + name.charCodeAt(name.length - 1))
    let common = 0
    for (let i = 0; i < cases; i++) {
      const other = randomState(expected, random, helper)
      const args = argumentsOf(helper, random, other)
      actual.bytes.set(expected.bytes)
      const before = shown(expected)
      const result = run(helper)(AT.actual, ...args)
      if (fell()) {
        if (Buffer.compare(actual.bytes, expected.bytes) !== 0) expect(shown(actual), `changed before it fell back: ${String(args)}`).toEqual(before)
        continue
      }
      common++
      const exact = (helper.run as (cpu: CpuContext, ...args: (number | bigint)[]) => number | bigint | void)({ state: expected } as CpuContext, ...args)
      const bits = (value: unknown): bigint => BigInt.asUintN(helper.returns === 'i64' ? 64 : 32, BigInt(value as number | bigint))
      const sameResult = helper.returns === undefined || bits(result) === bits(exact)
      if (sameResult && Buffer.compare(actual.bytes, expected.bytes) === 0) continue
      expect({ result: String(result), ...(shown(actual) as object) }, `${String(args)} of ${JSON.stringify(before)}`)
        .toEqual({ result: String(exact), ...(shown(expected) as object) })
      expect(sameResult).toBe(true)
    }
    expect(common).toBeGreaterThan(cases * 0.3)
  })

  it('has them for what compilers use', () => {
    expect(helpers.length).toBeGreaterThan(25)
  })
})

describe.skipIf(nativeProblem() !== undefined)('common cases of x87 instructions on the real CPU', () => {
  const rows = isaRows.filter(({ mnemonic, unit }) => unit === 'x87' &&
    /^F(I?(ADD|SUBR?|MUL|DIVR?|COMP?)P?|U?COMP?P?|U?COMIP?|LD|ILD|I?STT?P?|CHS|ABS|XCH|TST|RNDINT|XAM|SQRT|SCALE|PREM)$/.test(mnemonic))
  let decode: Decode
  let native: IsaEngine
  let tier0: IsaEngine

  beforeAll(() => {
    decode = createDecoder(isaRows, () => true)
    native = createNativeEngine()
    tier0 = createVcpuTestEngine(0)
  })

  /** Registers, control word and memory operand of a case made dense. */
  function thicken(one: IsaCase, random: Random): void {
    const { input, form } = one
    const first = denseOperand(random)
    const other = denseOther(random, first)
    input.fcw = denseControl(random) | 0x3f
    input.fsw &= ~0x8080
    const loads = /^FI?LD/.test(form.row.mnemonic)
    input.ftw = loads ? 0x7f ^ (0xff << 8) & 0xff : 0xff
    if (loads) input.fsw &= ~0x3800
    for (let n = 0; n < 8; n++) {
      const { top, sig } = n === 0 ? first : other
      const bytes = input.st(n)
      const view = new DataView(bytes.buffer, bytes.byteOffset, 10)
      view.setBigUint64(0, sig, true)
      view.setUint16(8, top, true)
    }
    const operand = one.insn?.operands[0]
    if (operand?.kind !== 'mem' || form.row.mnemonic.startsWith('FI')) return
    const at = Number(operandAddress(one, operand)) - WINDOW
    const view = new DataView(input.window.buffer, input.window.byteOffset, WINDOW_BYTES)
    if (at < 0 || at + 8 > WINDOW_BYTES) return
    if (form.row.operands === 'Mq') view.setBigUint64(at, narrow(random, other, 64), true)
    else if (form.row.operands === 'Md') view.setUint32(at, Number(narrow(random, other, 32)), true)
  }

  it.each(rows.map((row) => [`${row.mnemonic} ${row.encoding}`, row] as const))('%s', (name, row) => {
    const random = new Random(seed + name.length * 104_729)
    const made = casesOf(row, decode, Math.ceil(cases / 20), random)
    for (const one of made) thicken(one, random)
    const [expected, actual] = [native.run(made), tier0.run(made)]
    const reports = made.flatMap((one, i) => {
      const found = differences(one, expected[i], actual[i])
      return found.length > 0 ? [report(one, ['cpu', tier0.name], found)] : []
    })
    expect(reports.slice(0, 2).join('\n\n')).toBe('')
    expect(reports.length).toBe(0)
    expect(made.length).toBeGreaterThan(cases / 40)
  })
})
