/** Lookup tables of the decoder, built once from the instruction table. */
import type { Size } from '../emit/emitter'
import { ignoresMod, shapeOf, type SizeClass } from '../isa/forms'
import type { OpcodeMap, ParsedEncoding, ParsedOperandWithAccess } from '../isa/notation'
import type { Form, InsnRow } from '../isa/types'

/** Execution modes that differ in which rows exist. */
export type TableMode = 'long' | 'protected' | 'real'
/** Index of a table by mandatory prefix: none, 66, F3, F2. */
export const PREFIX_NONE = 0
export const PREFIX_66 = 1
export const PREFIX_F3 = 2
export const PREFIX_F2 = 3

const PREFIX_NAMES = ['NP', '66', 'F3', 'F2'] as const
export const MAPS: readonly OpcodeMap[] = ['one', '0F', '0F38', '0F3A']

/** What decoding needs to know of a row. */
export interface RowPlan {
  readonly row: InsnRow
  readonly rowIndex: number
  readonly encoding: ParsedEncoding
  readonly operands: readonly ParsedOperandWithAccess[]
  readonly sizeClass: SizeClass
  /** Mandatory 66: then the prefix does not change the operand size. */
  readonly mandatory66: boolean
  /** F3 or F2 belongs to the opcode. */
  readonly mandatoryRep: boolean
  readonly ignoresMod: boolean
  /** Forms by `formSlot`; holes where the form does not exist. */
  readonly forms: readonly (Form | undefined)[]
}

/** All rows of one opcode under one mandatory prefix. */
export interface OpcodeEntry {
  readonly hasModrm: boolean
  /** Without ModRM: the row with exactly this opcode, and the one with `+r` that REX.B selects (90: NOP and XCHG). */
  readonly exact: RowPlan | undefined
  readonly plusR: RowPlan | undefined
  /** With ModRM: by ModRM byte + 256 * REX.W. */
  readonly byModrm: readonly (RowPlan | undefined)[]
}

const sizeSlot = (size: Size): number => (size === 64 ? 3 : size === 32 ? 2 : size === 16 ? 1 : 0)
const addressSlot = (size: 16 | 32 | 64): number => (size === 64 ? 2 : size === 32 ? 1 : 0)
const rmSlot = (rm: Form['rm']): number => (rm === 'none' ? 0 : rm === 'reg' ? 1 : 2)
const repSlot = (rep: Form['rep']): number => (rep === 'none' ? 0 : rep === 'rep' ? 1 : 2)

export function formSlot(size: Size, addressSize: 16 | 32 | 64, rm: Form['rm'], rep: Form['rep']): number {
  return ((sizeSlot(size) * 3 + addressSlot(addressSize)) * 3 + rmSlot(rm)) * 3 + repSlot(rep)
}

function planOf(row: InsnRow, rowIndex: number): RowPlan {
  const { encoding, operands, sizeClass, forms } = shapeOf(row)
  const slots = new Array<Form | undefined>(4 * 27).fill(undefined)
  for (const form of forms) slots[formSlot(form.size, form.addressSize, form.rm, form.rep)] = form
  return {
    row, rowIndex, encoding, operands, sizeClass, forms: slots,
    mandatory66: encoding.prefix === '66',
    mandatoryRep: encoding.prefix === 'F3' || encoding.prefix === 'F2',
    ignoresMod: ignoresMod(operands),
  }
}

function existsIn(row: InsnRow, mode: TableMode): boolean {
  if (row.modes === 'not64') return mode !== 'long'
  if (row.modes === 'only64') return mode === 'long'
  return row.modes !== 'protected' || mode !== 'real'
}

/** True where the operand can be a register or memory only as this ModRM.mod says. */
function fitsMod(plan: RowPlan, mod: number): boolean {
  if (plan.ignoresMod) return true
  const isRegister = mod === 3
  if (plan.encoding.mod !== undefined && (plan.encoding.mod === 'reg') !== isRegister) return false
  const { rms } = shapeOf(plan.row)
  return rms.includes('none') || rms.includes(isRegister ? 'reg' : 'mem')
}

/** How closely a row's encoding names a ModRM byte: -1 not at all, larger wins. */
function fitModrm(plan: RowPlan, modrm: number, rexW: number): number {
  const { fixed, modrm: kind, plusR, rexW: wanted } = plan.encoding
  if (wanted !== undefined && wanted !== rexW) return -1
  const wBonus = wanted === undefined ? 0 : 1
  if (fixed !== undefined) return (plusR ? (modrm & 0xf8) === (fixed & 0xf8) : modrm === fixed) ? (plusR ? 6 : 8) + wBonus : -1
  if (kind === undefined || !fitsMod(plan, modrm >> 6)) return -1
  if (kind === 'r') return wBonus
  if (kind !== ((modrm >> 3) & 7)) return -1
  return 2 + wBonus + (plan.encoding.mod === undefined ? 0 : 2)
}

function pickByModrm(groups: readonly (readonly RowPlan[])[], modrm: number, rexW: number): RowPlan | undefined {
  for (const group of groups) {
    let best: RowPlan | undefined
    let score = -1
    for (const plan of group) {
      const fit = fitModrm(plan, modrm, rexW)
      if (fit > score) { best = plan; score = fit }
    }
    if (best) return best
  }
  return undefined
}

const usesModrm = (plan: RowPlan): boolean => plan.encoding.modrm !== undefined || plan.encoding.fixed !== undefined

/** @param groups rows of the opcode: those with the mandatory prefix first, then those without any */
function buildEntry(groups: readonly (readonly RowPlan[])[], opcode: number): OpcodeEntry | undefined {
  const all = groups.flat()
  if (all.length === 0) return undefined
  if (all.some(usesModrm)) {
    const byModrm = Array.from({ length: 512 }, (_, i) => pickByModrm(groups, i & 0xff, i >> 8))
    return { hasModrm: true, exact: undefined, plusR: undefined, byModrm }
  }
  const exact = all.find((plan) => !plan.encoding.plusR && plan.encoding.opcode === opcode)
  return { hasModrm: false, exact, plusR: all.find((plan) => plan.encoding.plusR), byModrm: [] }
}

function opcodesOf({ opcode, plusR, fixed }: ParsedEncoding): number[] {
  return plusR && fixed === undefined ? Array.from({ length: 8 }, (_, i) => (opcode & 0xf8) + i) : [opcode]
}

function groupByOpcode(plans: readonly RowPlan[]): Map<number, RowPlan[]> {
  const groups = new Map<number, RowPlan[]>()
  for (const plan of plans) {
    for (const opcode of opcodesOf(plan.encoding)) {
      const key = MAPS.indexOf(plan.encoding.map) * 256 + opcode
      const group = groups.get(key)
      if (group) group.push(plan)
      else groups.set(key, [plan])
    }
  }
  return groups
}

/**
 * Opcode entries by prefix, map and opcode: index `(prefix * 4 + map) * 256 + opcode`. An entry is built when its opcode
 * is first met: a guest uses a fraction of them, and a machine should not wait for the rest at power-on.
 */
export class OpcodeTable {
  private readonly entries = new Array<OpcodeEntry | undefined | null>(4 * 4 * 256).fill(null)
  private readonly groups: ReadonlyMap<number, readonly RowPlan[]>

  constructor(plans: readonly RowPlan[]) {
    this.groups = groupByOpcode(plans)
  }

  entry(index: number): OpcodeEntry | undefined {
    const known = this.entries[index]
    return known === null ? (this.entries[index] = this.build(index)) : known
  }

  private build(index: number): OpcodeEntry | undefined {
    const group = this.groups.get(index & 0x3ff)
    if (group === undefined) return undefined
    const prefix = index >> 10
    const special = group.filter((plan) => plan.encoding.prefix === PREFIX_NAMES[prefix])
    const isGeneral = ({ encoding }: RowPlan): boolean =>
      encoding.prefix === undefined || (encoding.prefix === 'NFx' && prefix < PREFIX_F3)
    return buildEntry([special, group.filter(isGeneral)], index & 0xff)
  }
}

/** Tables by mode. Rows whose feature is absent do not exist. */
export function buildTables(rows: readonly InsnRow[], hasFeature: (feature: string) => boolean): Record<TableMode, OpcodeTable> {
  const plans: RowPlan[] = []
  rows.forEach((row, i) => { if (row.cpuid === undefined || hasFeature(row.cpuid)) plans.push(planOf(row, i)) })
  const tableFor = (mode: TableMode): OpcodeTable => new OpcodeTable(plans.filter(({ row }) => existsIn(row, mode)))
  return { long: tableFor('long'), protected: tableFor('protected'), real: tableFor('real') }
}
