/** A difference between two tiers as text for people. */
import { listBlock } from '../../cpu/decode/disassemble'
import type { Decode } from '../../cpu/decode/types'
import { Mode } from '../../cpu/state/mode'
import { modeName } from '../profile'
import type { MemoryDifference, RegisterValues } from './compare'
import type { Advance, LockstepTier } from './pair'

/** An instruction the reference executed. */
export interface TracedInsn {
  /** Linear address. */
  readonly address: bigint
  readonly modeKey: number
  /** 15 bytes from there. */
  readonly bytes: Uint8Array
}

/** Where the tested tier stood before the step that differs. */
export interface TestedBlock {
  readonly address: bigint
  readonly modeKey: number
  readonly cpl: number
  /** Tier that had this code. */
  readonly tier: LockstepTier
}

export interface Difference {
  readonly tiers: { readonly reference: LockstepTier; readonly tested: LockstepTier }
  /** Executed by both before the step that differs. */
  readonly instructions: number
  readonly nowNs: number
  readonly block: TestedBlock
  readonly trace: readonly TracedInsn[]
  readonly registers: readonly RegisterValues[]
  readonly memory: readonly MemoryDifference[]
  readonly devices: readonly { readonly id: string; readonly reference: string; readonly tested: string }[]
  readonly end: Extract<Advance, { kind: 'path' | 'end' }> | undefined
  /** Serial output that differs, as text of each side from the first difference on. */
  readonly serial: { readonly reference: string; readonly tested: string } | undefined
  /** False: found between two comparisons, and not again when the machines were run a second time. */
  readonly exact: boolean
}

/** Instructions and rows shown of long lists. */
const MAX_TRACE = 64

const hex = (value: number | bigint, width = 1): string => value.toString(16).padStart(width, '0')
const bytesText = (bytes: Uint8Array): string => Array.from(bytes, (byte) => hex(byte, 2)).join(' ')

function traceLine(decode: Decode, { address, bytes, modeKey }: TracedInsn): string {
  const [line] = listBlock(decode, bytes, address, modeKey, (modeKey & Mode.CODE64) !== 0)
  return `  ${hex(address, 8)}  ${bytesText(line.bytes).padEnd(30)}  ${line.text}`
}

function traceText(decode: Decode, trace: readonly TracedInsn[]): string[] {
  if (trace.length === 0) return []
  const shown = trace.slice(-MAX_TRACE)
  const left = trace.length - shown.length
  return [
    '', `Instructions of this step, as the reference executed them${left > 0 ? ` (the first ${left} left out)` : ''}:`,
    ...shown.map((insn) => traceLine(decode, insn)),
  ]
}

function registerText({ registers, tiers }: Difference): string[] {
  const header = ['register', 'before', `tier ${tiers.reference}`, `tier ${tiers.tested}`]
  const rows = registers.map(({ name, before, reference, tested }) => [reference === tested ? `  ${name}` : `* ${name}`, before, reference, tested])
  const all = [[`  ${header[0]}`, ...header.slice(1)], ...rows]
  const widths = [0, 1, 2].map((column) => Math.max(...all.map((row) => row[column].length)))
  return ['', 'Registers (* differs):', ...all.map((row) => row.map((cell, i) => (i < 3 ? cell.padEnd(widths[i]) : cell)).join('  ').trimEnd())]
}

function memoryText({ memory, tiers }: Difference): string[] {
  if (memory.length === 0) return []
  const rows = memory.flatMap(({ address, reference, tested }) => [
    `  ${hex(address, 8)}  tier ${tiers.reference}  ${bytesText(reference)}`,
    `  ${' '.repeat(Math.max(8, hex(address).length))}  tier ${tiers.tested}  ${bytesText(tested)}`,
  ])
  return ['', 'Memory, by guest-physical address:', ...rows]
}

function endText({ end, tiers }: Difference): string[] {
  if (!end) return []
  if (end.kind === 'end') {
    return ['', `Tier ${tiers.reference}: ${end.reference ?? 'runs on'}`, `Tier ${tiers.tested}: ${end.tested ?? 'runs on'}`]
  }
  const place = (p: { instructions: number; exceptions: number }): string => `${p.instructions} instructions, ${p.exceptions} exceptions`
  return ['', `The tiers went different ways: tier ${tiers.tested} stood after ${place(end.tested)}, tier ${tiers.reference} came by ${place(end.reference)}.`]
}

function otherText({ devices, serial, tiers }: Difference): string[] {
  const lines = devices.flatMap(({ id, reference, tested }) => [`Device ${id}:`, `  tier ${tiers.reference}  ${reference}`, `  tier ${tiers.tested}  ${tested}`])
  if (serial) lines.push('Serial line:', `  tier ${tiers.reference}  ${JSON.stringify(serial.reference)}`, `  tier ${tiers.tested}  ${JSON.stringify(serial.tested)}`)
  return lines.length > 0 ? ['', ...lines] : []
}

/** The whole report. */
export function reportText(d: Difference, decode: Decode): string {
  const { block, tiers } = d
  const where = `0x${hex(block.address)} (${modeName(block.modeKey)}, ring ${block.cpl})`
  const what = block.tier === 0 ? 'which no higher tier had translated yet' : block.tier === 1 ? 'translated as a block (tier 1)' : 'translated as a region (tier 2)'
  return [
    `Tiers ${tiers.reference} and ${tiers.tested} differ after ${d.instructions} instructions (${(d.nowNs / 1e9).toFixed(6)} s of guest time).`,
    d.exact ? `The first difference comes from the code at ${where}, ${what}.`
      : `The difference arose after the code at ${where}; it did not show again when the machines were run a second time.`,
    ...endText(d), ...traceText(decode, d.trace), ...registerText(d), ...memoryText(d), ...otherText(d), '',
  ].join('\n')
}
