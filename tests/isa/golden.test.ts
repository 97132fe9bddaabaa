/**
 * The wasm of a few blocks and a loop, as text: a change of the translator shows what it does to them.
 * `npx vitest run --project isa tests/isa/golden.test.ts -u` writes the files anew.
 */
import { expect, it } from 'vitest'
import { CodeWindow } from '../../src/main/vmm/cpu/dbt/code-window'
import { glueName, Translator } from '../../src/main/vmm/cpu/dbt/translator'
import type { CodeBlock } from '../../src/main/vmm/cpu/dbt/translation-job'
import { createDecoder } from '../../src/main/vmm/cpu/decode/decode'
import { listBlock } from '../../src/main/vmm/cpu/decode/disassemble'
import { listFunction } from '../../src/main/vmm/cpu/emit/wasm/listing'
import type { BlockRecord } from '../../src/main/vmm/cpu/interp/decode-cache'
import { numberHandlers } from '../../src/main/vmm/cpu/interp/handler-table'
import { RECORD_SIZE } from '../../src/main/vmm/cpu/interp/record'
import { isaRows } from '../../src/main/vmm/cpu/isa'
import { Mode } from '../../src/main/vmm/cpu/state/mode'
import { cellNameAt } from '../../src/main/vmm/cpu/state/names'

const LONG = Mode.PROTECTED | Mode.LONG | Mode.CODE64 | Mode.FLAT
const HOST = 0x1000
const AT = 0x100

const CASES = [
  { name: 'move-add-load-store', code: '48 8b 07 48 01 d8 48 89 47 08 c3', shape: 'block' },
  { name: 'compare-branch', code: '39 d8 7c 02', shape: 'block' },
  { name: 'call', code: 'e8 00 10 00 00', shape: 'block' },
  { name: 'sse', code: '66 0f 6f 07 66 0f fe c8 66 0f 7f 4f 10 eb 00', shape: 'block' },
  // again: add rax,[rsi+rcx*8]; dec rcx; jnz again
  { name: 'loop', code: '48 03 04 ce 48 ff c9 75 f7 c3', shape: 'region' },
] as const

const decode = createDecoder(isaRows, () => true)
const handlers = numberHandlers(isaRows)
const memory = new Uint8Array(2 * HOST)
// Slots of the table follow from the whole instruction table; here they stand for themselves.
const calls = { slow: { load: 1, store: 2, probe: 3, commit: 4, segment: 5 }, loop: 6, helper: new Map<never, number>() }
const translator = new Translator({ bytes: memory, decode, places: (form) => handlers.of(form).places, calls, hotLoopAfter: 3000 })

function place(code: string): { block: CodeBlock; listing: string[] } {
  const bytes = code.split(' ').map((byte) => parseInt(byte, 16))
  memory.fill(0)
  memory.set(bytes, HOST + AT)
  const lines = listBlock(decode, Uint8Array.from(bytes), BigInt(AT), LONG, true)
  const records = lines.map((line, i): BlockRecord => ({ offset: RECORD_SIZE * (i + 1), kind: 'insn', delta: Number(line.address) - AT, count: i + 1 }))
  return { block: { head: 0, modeKey: LONG, host: HOST, pageOffset: AT, records }, listing: lines.map((line) => `;; ${line.text}`) }
}

it.each(CASES)('$name', async ({ name, code, shape }) => {
  const { block, listing } = place(code)
  const draft = translator.begin()
  const made = shape === 'block' ? draft.add(block) : draft.addRegion(block, new CodeWindow(memory, { linearPage: 0, pages: [{ delta: 0, host: HOST, warm: [], went: [] }] }), 'loop')
  if (!made) throw new Error(`${name} was not translated`)
  const wasm = listFunction(made.body, { call: glueName, cell: cellNameAt })
  expect(WebAssembly.validate(draft.finish() as BufferSource)).toBe(true)
  await expect(`${[...listing, ...wasm].join('\n')}\n`).toMatchFileSnapshot(`golden/${name}.txt`)
})
