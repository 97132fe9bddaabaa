/** Lookup tables of the decoder, built once from the instruction table. */
import { ignoresMod, shapeOf } from '../isa/forms'
import type { OpcodeMap, ParsedEncoding } from '../isa/notation'
import type { InsnRow } from '../isa/types'
import { FormTable } from './form-plan'

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
  readonly encoding: ParsedEncoding
  readonly ignoresMod: boolean
  readonly forms: FormTable
}

/** Rows are told apart by ModRM.reg, by the whole byte where it names a register, and by REX.W. */
const MODRM_KINDS = 8 + 64

/** All rows of one opcode under one mandatory prefix. */
export class OpcodeEntry {
  readonly hasModrm: boolean
  /** Without ModRM: the row with exactly this opcode, and the one with `+r` that REX.B selects (90: NOP and XCHG). */
  private readonly exact: RowPlan | undefined
  private readonly plusR: RowPlan | undefined
  /** With ModRM: by its kind and REX.W; null: not asked for yet. */
  private readonly byModrm: (RowPlan | undefined | null)[]

  /** @param groups rows of the opcode: those with the mandatory prefix first, then those without any */
  constructor(private readonly groups: readonly (readonly RowPlan[])[], opcode: number) {
    const all = groups.flat()
    this.hasModrm = all.some(({ encoding }) => encoding.modrm !== undefined || encoding.fixed !== undefined)
    this.exact = all.find(({ encoding }) => !encoding.plusR && encoding.opcode === opcode)
    this.plusR = all.find(({ encoding }) => encoding.plusR)
    this.byModrm = this.hasModrm ? new Array<null>(2 * MODRM_KINDS).fill(null) : []
  }

  withModrm(modrm: number, rexW: boolean): RowPlan | undefined {
    const index = (modrm < 0xc0 ? (modrm >> 3) & 7 : modrm - 0xc0 + 8) + (rexW ? MODRM_KINDS : 0)
    const known = this.byModrm[index]
    return known === null ? (this.byModrm[index] = pickByModrm(this.groups, modrm, rexW ? 1 : 0)) : known
  }

  withoutModrm(rexB: boolean): RowPlan | undefined {
    return this.plusR !== undefined && (rexB || this.exact === undefined) ? this.plusR : this.exact
  }
}

/** Plans of a table's rows, each made when its opcode is first met. */
class RowPlans {
  private readonly plans: (RowPlan | undefined)[] = []
  private readonly counter = { plans: 0 }

  constructor(private readonly rows: readonly InsnRow[]) {}

  of(index: number): RowPlan {
    return this.plans[index] ??= this.make(index)
  }

  private make(index: number): RowPlan {
    const row = this.rows[index]
    const { encoding, operands } = shapeOf(row)
    return { row, encoding, ignoresMod: ignoresMod(operands), forms: new FormTable(row, index, this.counter) }
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

function opcodesOf({ opcode, plusR, fixed }: ParsedEncoding): number[] {
  return plusR && fixed === undefined ? Array.from({ length: 8 }, (_, i) => (opcode & 0xf8) + i) : [opcode]
}

/** Indices of the rows that exist, by map and opcode: `map * 256 + opcode`. */
function groupByOpcode(rows: readonly InsnRow[], hasFeature: (feature: string) => boolean): ReadonlyMap<number, readonly number[]> {
  const groups = new Map<number, number[]>()
  rows.forEach((row, i) => {
    if (row.cpuid !== undefined && !hasFeature(row.cpuid)) return
    const { encoding } = shapeOf(row)
    for (const opcode of opcodesOf(encoding)) {
      const key = MAPS.indexOf(encoding.map) * 256 + opcode
      const group = groups.get(key)
      if (group) group.push(i)
      else groups.set(key, [i])
    }
  })
  return groups
}

/**
 * Opcode entries by prefix, map and opcode: index `(prefix * 4 + map) * 256 + opcode`. An entry is built when its opcode
 * is first met: a guest uses a fraction of them, and a machine should not wait for the rest at power-on.
 */
export class OpcodeTable {
  private readonly entries = new Array<OpcodeEntry | undefined | null>(4 * 4 * 256).fill(null)

  constructor(private readonly mode: TableMode, private readonly groups: ReadonlyMap<number, readonly number[]>, private readonly plans: RowPlans) {}

  entry(index: number): OpcodeEntry | undefined {
    const known = this.entries[index]
    return known === null ? (this.entries[index] = this.build(index)) : known
  }

  private build(index: number): OpcodeEntry | undefined {
    const group = (this.groups.get(index & 0x3ff) ?? []).map((row) => this.plans.of(row)).filter(({ row }) => existsIn(row, this.mode))
    const prefix = index >> 10
    const special = group.filter((plan) => plan.encoding.prefix === PREFIX_NAMES[prefix])
    const isGeneral = ({ encoding }: RowPlan): boolean =>
      encoding.prefix === undefined || (encoding.prefix === 'NFx' && prefix < PREFIX_F3)
    const general = group.filter(isGeneral)
    return special.length + general.length === 0 ? undefined : new OpcodeEntry([special, general], index & 0xff)
  }
}

/** Tables by mode. Rows whose feature is absent do not exist. */
export function buildTables(rows: readonly InsnRow[], hasFeature: (feature: string) => boolean): Record<TableMode, OpcodeTable> {
  const groups = groupByOpcode(rows, hasFeature)
  const plans = new RowPlans(rows)
  const tableFor = (mode: TableMode): OpcodeTable => new OpcodeTable(mode, groups, plans)
  return { long: tableFor('long'), protected: tableFor('protected'), real: tableFor('real') }
}
